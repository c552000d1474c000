"""Clips of procedural worlds for the decoders: made by the generator, many at once.

A clip is what the commands make of the world's picture, or of a still camera's video of it: same
trajectories, seeds, warps and sampling. The teacher is the generator's own RGB decoder; with
`targets=truth` clips show the world itself instead, for the ablation on real data.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.checkpoints import find_checkpoint
from src.depth.nano import load_nano_depth
from src.geometry.cameras import Cameras
from src.io.clip import Clip, ClipPaths, is_finished, open_clip
from src.io.clip_writers import ClipWriters
from src.runtime import default_device, get_logger, progress
from src.tokenizer.loading import load_tokenizer
from src.worlds.scene import Worlds, build_worlds

from ..diffusion.cache import CacheSettings
from ..diffusion.conditioning import latent_encoder
from ..diffusion.config import CameraConfig, HardwareConfig, SamplingConfig, clip_settings
from ..diffusion.network import load_generator
from ..diffusion.pipeline import Gen3C
from ..diffusion.scenes import Scene
from ..diffusion.shots import Rig, Shot, describe, draw, list_shots, shot_rig, shot_spec
from ..diffusion.text import prompt_contexts
from .clip_config import ClipsConfig
from .clip_sampling import BatchPlan, ClipStarts, decode_clips, sample_clips, scene_starts
from .clip_scenes import (
    ReplayedDepth,
    depth_names,
    estimate_depths,
    film_worlds,
    true_depths,
    world_scene,
)

LOGGER = get_logger(__name__)
PARTS = ("generator", "tokenizer", "depth")


@dataclass(frozen=True)
class ClipPlan:
    """A clip to be made of a scene; `rig` has its cameras in the order of generation."""

    key: str
    scene: Scene
    shot: Shot
    rig: Rig
    seed: int
    meta: dict[str, object]

    def cameras(self, size: tuple[int, int]) -> Cameras:
        """The cameras in the order of the scene's time, as they are stored."""
        rig = self.rig.backwards() if self.shot.backwards else self.rig
        return rig.cameras(*size)


@dataclass(frozen=True)
class Footage:
    """What clips show, in the order of the scene's time."""

    frames: UInt8[Tensor, "clip frame h w 3"]
    latents: Float[Tensor, "clip channel latent_frame lh lw"]
    depth: Float[Tensor, "clip frame h w"] | None = None

    def cpu(self) -> "Footage":
        """The same on the CPU, in one copy each."""
        depth = None if self.depth is None else self.depth.cpu()
        return Footage(self.frames.cpu(), self.latents.float().cpu(), depth)


def make_clips(config: ClipsConfig) -> int:
    """Make the clips that are missing, or were made otherwise; returns how many.

    Raises:
        InputError: missing or damaged weights.
    """
    begin, made = time.monotonic(), 0
    with ClipWriters(config.processes) as writers:
        maker = ClipMaker(config)
        missing = [seed for seed in config.seeds if not maker.is_made(seed)]
        step = config.worlds_at_once
        groups = [missing[at : at + step] for at in range(0, len(missing), step)]
        for group in progress(groups, f"clips for {maker.root}", len(groups)):
            minutes = (time.monotonic() - begin) / 60
            if config.max_minutes is not None and minutes >= config.max_minutes:
                LOGGER.warning("%d clips after %.1f minutes, not all of them", made, minutes)
                break
            for paths, clip in maker(group):
                writers.write(paths, clip)
                made += 1
    LOGGER.info("%s: %d clips in %.1f s", maker.root, made, time.monotonic() - begin)
    return made


class ClipMaker:
    """The networks, loaded once, and what all clips of a run have in common."""

    def __init__(self, config: ClipsConfig) -> None:
        """Load the networks from the checkpoint folder, onto the GPU if there is one."""
        self.config, self.device = config, default_device()
        self.root = Path(config.output) / ("dynamic" if config.dynamic else "static")
        folders = {part: find_checkpoint(part, config.checkpoint_dir) for part in PARTS}
        hardware = HardwareConfig(self.device)
        dtype = hardware.dtype
        network = load_generator(folders["generator"], self.device, dtype)
        tokenizer = load_tokenizer(folders["tokenizer"], self.device, dtype)
        self.generator = Gen3C(network, tokenizer, hardware)
        self.depth = load_nano_depth(folders["depth"], self.device)
        covered, moving = tokenizer.max_latent_frames, config.dynamic
        self.settings = clip_settings(SamplingConfig(), network.config, covered, moving)
        self.fps = network.config.sampling.fps
        self.size = (self.settings.height, self.settings.width)
        self.shots = list_shots(CameraConfig(multi=True, flipped=moving))
        self.texts = prompt_contexts(network.config, None)
        chosen = asdict(config)
        decide = ("depth", "targets", "archives", "seed", "spread")
        self._made = {name: chosen[name] for name in decide}
        self._made |= {"weights": _fingerprint(list(folders.values()))}

    def is_made(self, seed: int) -> bool:
        """Whether all clips of a world are there and were made as this run would."""
        for shot in self.shots:
            paths = ClipPaths(self.root, shot.folder, _key(seed))
            if not is_finished(paths) or open_clip(paths).meta().get("made") != self._made:
                return False
        return True

    @torch.no_grad()
    def __call__(self, seeds: Sequence[int]) -> Iterator[tuple[ClipPaths, Clip]]:
        """The clips of some worlds, world by world."""
        worlds = build_worlds(seeds, self.config.dynamic).to(self.device)
        plans = [plan for scene in self._scenes(seeds, worlds) for plan in self._plans(*scene)]
        if self.config.targets == "truth" or self.config.archives == "truth":
            truth = self._film(worlds, plans)
            footage = truth
            if self.config.targets == "generated":
                footage = replace(self._generate(plans), depth=truth.depth)
        else:
            footage = self._generate(plans)
        if self.config.archives != "truth":
            footage = replace(footage, depth=self._estimate(footage.frames))
        footage = footage.cpu()
        for index, plan in enumerate(plans):
            # Latents of reversed clips are those of the video played backwards.
            latents = None if plan.shot.backwards else footage.latents[index]
            depth = None if footage.depth is None else footage.depth[index]
            cameras, fps = plan.cameras(self.size), self.fps
            clip = Clip(cameras, fps, footage.frames[index], latents, depth, plan.meta)
            yield ClipPaths(self.root, plan.shot.folder, plan.key), clip

    def _scenes(self, seeds: Sequence[int], worlds: Worlds) -> Iterator[tuple[int, Scene]]:
        """Each world's seed and scene, seen by a camera that stands still."""
        count = self.settings.num_frames if self.config.dynamic else 1
        still = torch.eye(4, device=self.device).expand(len(seeds), count, 4, 4)
        # Few frames: compiling the renderer would take longer than it saves.
        films = film_worlds(worlds, still, self._times(count), self.size, compile=False)
        for index, (seed, name) in enumerate(
            zip(seeds, depth_names(self.config.depth, seeds), strict=True)
        ):
            color = films.color[index]
            if name == "truth":
                backend = ReplayedDepth(name, true_depths(films, index))
            else:
                backend = ReplayedDepth(name, estimate_depths(self.depth, color))
            yield seed, world_scene(color, backend, self.settings.num_frames, self.fps)

    def _plans(self, seed: int, scene: Scene) -> Iterator[ClipPlan]:
        """The clips of a scene, as the commands would make them."""
        key, config = _key(seed), self.config
        directions = {False: scene}
        if scene.moving:
            directions[True] = scene.backwards()
        for shot in self.shots:
            drawn = draw(config.seed, key, shot.folder)
            varied = draw(config.seed, key, f"{shot.folder}/spread").position
            factor = 1 + config.spread * (2 * varied - 1)
            spec = shot_spec(shot, CameraConfig(multi=True, factor=factor), drawn)
            seen = directions[shot.backwards]
            meta = {"made": self._made, "world": seed, "trajectory": describe(spec)}
            meta |= {**scene.record, "seed": drawn.seed, "backwards": shot.backwards}
            yield ClipPlan(key, seen, shot, shot_rig(spec, seen.rig, *self.size), drawn.seed, meta)

    def _generate(self, plans: Sequence[ClipPlan]) -> Footage:
        """What the generator makes of the plans."""
        # Drop what has no depth out of the way of others, as the commands do.
        defaults = self.generator.network.config.sampling
        cache = CacheSettings(defaults.filter_points_threshold, drop_invalid=True)
        parts = []
        for scene in dict.fromkeys(id(plan.scene) for plan in plans):
            own = [plan for plan in plans if id(plan.scene) == scene]
            rigs, seeds = [plan.rig for plan in own], [plan.seed for plan in own]
            parts.append((own, scene_starts(own[0].scene, rigs, seeds, cache)))
        starts = ClipStarts.concatenate([part for _, part in parts])
        settings = self.settings
        plan = BatchPlan(settings.num_steps, settings.guidance, self.fps)
        latents = sample_clips(self.generator, starts, self.texts, plan)
        frames = decode_clips(self.generator, latents)
        # Scenes forwards and backwards lie apart here: back to the order of the plans.
        made = {id(plan): at for at, plan in enumerate(p for own, _ in parts for p in own)}
        order = torch.tensor([made[id(plan)] for plan in plans], device=self.device)
        reverse = torch.tensor([plan.shot.backwards for plan in plans], device=self.device)
        frames, latents = frames[order], latents[order]
        reversed_frames = frames.flip(1)
        frames = torch.where(reverse[:, None, None, None, None], reversed_frames, frames)
        return Footage(frames, latents)

    def _film(self, worlds: Worlds, plans: Sequence[ClipPlan]) -> Footage:
        """What the worlds look like along the plans' trajectories, with latents and depth."""
        paths, count = len(self.shots), self.settings.num_frames
        c2w = torch.stack([plan.cameras(self.size).c2w for plan in plans]).to(self.device)
        c2w = c2w.unflatten(0, (-1, paths)).flatten(1, 2)
        films = film_worlds(worlds, c2w, self._times(count).repeat(paths), self.size)
        frames = films.color.unflatten(1, (paths, count)).flatten(0, 1)
        video = frames.movedim(-1, 1).float() / 127.5 - 1
        latents = latent_encoder(self.generator.tokenizer)(video)
        return Footage(frames, latents, films.depth.unflatten(1, (paths, count)).flatten(0, 1))

    def _estimate(
        self, frames: UInt8[Tensor, "clip frame h w 3"]
    ) -> Float[Tensor, "clip frame h w"] | None:
        """Depth of every frame by the network, 0 where it is unknown.

        Each frame has a scale of its own, to which the depth loss is blind.
        """
        if self.config.archives == "none":
            return None
        found = estimate_depths(self.depth, frames.flatten(0, 1))
        maps = [torch.where(item.mask, item.depth, 0) for item in found]
        return torch.stack(maps).unflatten(0, frames.shape[:2])

    def _times(self, count: int) -> Float[Tensor, " frame"]:
        return torch.linspace(0, 1, count, device=self.device)


def _key(seed: int) -> str:
    return f"world_{seed:06d}"


def _fingerprint(folders: Sequence[Path]) -> str:
    """A digest of the weights: clips of other ones are made again."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
