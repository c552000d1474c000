"""Clips of procedural worlds for the decoders: made by the generator, many at once.

A clip is what the commands make of the world's picture, or of a still camera's video of it: same
trajectories, seeds, warps and sampling. The teacher is the generator's own RGB decoder; with
`targets=truth` clips show the world itself instead, for the ablation on real data.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings
from cosmos_predict1.diffusion.conditioning.latents import latent_encoder
from cosmos_predict1.diffusion.config import (
    CameraConfig,
    HardwareConfig,
    SamplingConfig,
    clip_settings,
)
from cosmos_predict1.diffusion.model.network import load_generator
from cosmos_predict1.diffusion.model.text import prompt_contexts
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C
from cosmos_predict1.diffusion.scenes.scene import Scene
from cosmos_predict1.diffusion.scenes.shots import (
    Rig,
    Shot,
    describe,
    draw,
    list_shots,
    shot_rig,
    shot_spec,
)
from src.checkpoints import find_checkpoint
from src.depth.backends.nano import load_nano_depth
from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip, ClipPaths, is_finished, open_clip
from src.io.clip.paths import SUFFIXES
from src.runtime import default_device
from src.tokenizer.loading import load_tokenizer
from src.training.stopwatch import Stopwatch

from ..worlds.scene import Worlds, build_worlds
from .config import ClipsConfig
from .sampling import BatchPlan, ClipStarts, decode_clips, sample_clips, scene_starts
from .scenes import (
    ReplayedDepth,
    depth_names,
    estimate_depths,
    film_worlds,
    true_depths,
    world_scene,
)

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
class ClipFootage:
    """What clips show, in the order of the scene's time."""

    frames: UInt8[Tensor, "clip frame h w 3"]
    latents: Float[Tensor, "clip channel latent_frame lh lw"]
    depth: Float[Tensor, "clip frame h w"] | None = None

    def cpu(self) -> "ClipFootage":
        """The same on the CPU, in one copy each; depth as half floats, which archives hold."""
        depth = None if self.depth is None else self.depth.half().cpu()
        return ClipFootage(self.frames.cpu(), self.latents.float().cpu(), depth)


class ClipMaker:
    """The networks, loaded once, and what all clips of a run have in common."""

    def __init__(self, config: ClipsConfig) -> None:
        """Load the networks from the checkpoint folder, onto the GPU if there is one."""
        self.config, self.device = config, default_device()
        self.clock = Stopwatch(self.device, config.timing)
        self.root = Path(config.output) / ("dynamic" if config.dynamic else "static")
        folders = {part: find_checkpoint(part, config.checkpoint_dir) for part in PARTS}
        hardware = HardwareConfig(device=self.device)
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

    def drop_partial(self, seeds: Sequence[int]) -> int:
        """Remove worlds some of whose clips are missing; returns how many.

        Readers take every key of a folder for a scene of all folders.
        """
        dropped = 0
        for seed in seeds:
            clips = [ClipPaths(self.root, shot.folder, _key(seed)) for shot in self.shots]
            # What a reader looks at last goes first.
            files = [paths.part(part) for paths in clips for part in reversed(SUFFIXES)]
            there = [path for path in files if path.exists()]
            if there and not all(is_finished(paths) for paths in clips):
                for path in there:
                    path.unlink()
                dropped += 1
        return dropped

    @torch.no_grad()
    def __call__(
        self, seeds: Sequence[int], worlds: Worlds | None = None
    ) -> list[tuple[ClipPaths, Clip]]:
        """The clips of some worlds, world by world; `worlds` are those if they are built."""
        if worlds is None:
            worlds = build_worlds(seeds, self.config.dynamic)
        with self.clock("scenes"):
            worlds = worlds.to(self.device)
            plans = [plan for scene in self._scenes(seeds, worlds) for plan in self._plans(*scene)]
        footage = self._footage(worlds, plans)
        with self.clock("copies"):
            footage = footage.cpu()
            cameras = [plan.cameras(self.size) for plan in plans]
            # Two copies instead of two of each clip.
            c2w = torch.stack([each.c2w for each in cameras]).cpu()
            lenses = torch.stack([each.intrinsics for each in cameras]).cpu()
        clips = []
        for index, plan in enumerate(plans):
            # Latents of reversed clips are those of the video played backwards.
            latents = None if plan.shot.backwards else footage.latents[index]
            depth = None if footage.depth is None else footage.depth[index]
            seen = replace(cameras[index], c2w=c2w[index], intrinsics=lenses[index])
            clip = Clip(seen, self.fps, footage.frames[index], latents, depth, plan.meta)
            clips.append((ClipPaths(self.root, plan.shot.folder, plan.key), clip))
        return clips

    def _footage(self, worlds: Worlds, plans: Sequence[ClipPlan]) -> ClipFootage:
        """What the clips show, with latents and, if archives are wanted, depth."""
        if self.config.targets == "truth" or self.config.archives == "truth":
            with self.clock("truth"):
                footage = truth = self._film(worlds, plans)
            if self.config.targets == "generated":
                footage = replace(self._generate(plans), depth=truth.depth)
        else:
            footage = self._generate(plans)
        if self.config.archives != "truth":
            with self.clock("archives"):
                footage = replace(footage, depth=self._estimate(footage.frames))
        return footage

    def _scenes(self, seeds: Sequence[int], worlds: Worlds) -> Iterator[tuple[int, Scene]]:
        """Each world's seed and scene, seen by a camera that stands still."""
        count = self.settings.num_frames if self.config.dynamic else 1
        still = torch.eye(4, device=self.device).expand(len(seeds), count, 4, 4)
        # Few frames: compiling the renderer would take longer than it saves.
        films = film_worlds(worlds, still, self._times(count), self.size, compile=False)
        names = depth_names(self.config.depth, seeds)
        estimated = [index for index, name in enumerate(names) if name == "nano"]
        # The frames of all worlds go through the network together.
        estimates = estimate_depths(self.depth, films.color[estimated].flatten(0, 1))
        for index, (seed, name) in enumerate(zip(seeds, names, strict=True)):
            color = films.color[index]
            if name == "truth":
                backend = ReplayedDepth(name, true_depths(films, index))
            else:
                backend = ReplayedDepth(name, [*islice(estimates, count)])
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

    def _generate(self, plans: Sequence[ClipPlan]) -> ClipFootage:
        """What the generator makes of the plans."""
        # Drop what has no depth out of the way of others, as the commands do.
        defaults = self.generator.network.config.sampling
        cache = CacheSettings(threshold=defaults.filter_points_threshold, drop_invalid=True)
        parts = []
        with self.clock("warps"):
            groups = scene_groups(plans)
            for own in groups:
                rigs, seeds = [plans[at].rig for at in own], [plans[at].seed for at in own]
                parts.append(scene_starts(plans[own[0]].scene, rigs, seeds, cache))
            starts = ClipStarts.concatenate(parts)
        settings = self.settings
        plan = BatchPlan(settings.num_steps, settings.guidance, self.fps)
        latents = sample_clips(self.generator, starts, self.texts, plan, self.clock)
        with self.clock("decode"):
            frames = decode_clips(self.generator, latents)
        # Scenes forwards and backwards lie apart here: back to the order of the plans.
        order = torch.tensor([at for own in groups for at in own], device=self.device).argsort()
        reverse = torch.tensor([plan.shot.backwards for plan in plans], device=self.device)
        frames, latents = frames[order], latents[order]
        reversed_frames = frames.flip(1)
        frames = torch.where(reverse[:, None, None, None, None], reversed_frames, frames)
        return ClipFootage(frames, latents)

    def _film(self, worlds: Worlds, plans: Sequence[ClipPlan]) -> ClipFootage:
        """What the worlds look like along the plans' trajectories, with latents and depth."""
        paths, count = len(self.shots), self.settings.num_frames
        c2w = torch.stack([plan.cameras(self.size).c2w for plan in plans]).to(self.device)
        c2w = c2w.unflatten(0, (-1, paths)).flatten(1, 2)
        films = film_worlds(worlds, c2w, self._times(count).repeat(paths), self.size)
        frames = films.color.unflatten(1, (paths, count)).flatten(0, 1)
        video = frames.movedim(-1, 1).float() / 127.5 - 1
        latents = latent_encoder(self.generator.tokenizer)(video)
        return ClipFootage(frames, latents, films.depth.unflatten(1, (paths, count)).flatten(0, 1))

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


def scene_groups(plans: Sequence[ClipPlan]) -> list[list[int]]:
    """The places of the plans of each scene, which is a world in one direction of its time."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for at, plan in enumerate(plans):
        groups.setdefault((plan.key, plan.shot.backwards), []).append(at)
    return [*groups.values()]


def _key(seed: int) -> str:
    return f"world_{seed:06d}"


def _fingerprint(folders: Sequence[Path]) -> str:
    """A digest of the weights: clips of other ones are made again."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
