"""Clips of procedural worlds for the decoders, made by the generator many at once.

A clip equals that of the commands from the world's picture, or from a still camera's video of it:
same trajectories, seeds, warps and sampling. The teacher is the generator's own RGB decoder; with
`targets=truth` clips show the world itself instead, for the ablation on real data.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import latent_encoder
from cosmos_predict1.diffusion.config import CameraConfig, SamplingConfig, clip_settings
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
from src.geometry.cameras import Cameras
from src.io.clip.clip import SUFFIXES, Clip, ClipPaths, is_finished, open_clip
from src.runtime import default_device
from src.training.task import Stopwatch

from ..worlds.film import film_worlds
from ..worlds.scene import Worlds, build_worlds
from .config import ClipsConfig
from .networks import Networks
from .sampling import ClipStarts, decode_clips, scene_starts
from .scenes import ReplayedDepth, depth_names, estimate_depths, world_scene

PARTS = ("generator", "tokenizer", "depth")


@dataclass(frozen=True)
class ClipPlan:
    """A clip to make of a scene; `rig` has its cameras in the order of generation."""

    key: str
    scene: Scene
    shot: Shot
    rig: Rig
    seed: int
    meta: dict[str, object]

    def cameras(self, size: tuple[int, int]) -> Cameras:
        """Returns the cameras in the order of the scene's time, as they are stored."""
        rig = self.rig.backwards() if self.shot.backwards else self.rig
        return rig.cameras(height=size[0], width=size[1])


@dataclass(frozen=True)
class ClipFootage:
    """Frames, latents and depth of clips, in the order of the scene's time."""

    frames: UInt8[Tensor, "clip frame h w 3"]
    latents: Float[Tensor, "clip channel latent_frame lh lw"]
    depth: Float[Tensor, "clip frame h w"] | None = None

    def cpu(self) -> "ClipFootage":
        """Returns a copy on the CPU; depth as half floats, the type of the archives."""
        depth = None if self.depth is None else self.depth.half().cpu()
        return ClipFootage(self.frames.cpu(), self.latents.float().cpu(), depth)


class ClipMaker:
    """Makes clips with networks that are loaded once, onto the GPU if there is one."""

    def __init__(self, config: ClipsConfig) -> None:
        self.config, self.device = config, default_device()
        self.clock = Stopwatch(self.device, config.timing)
        self.root = Path(config.output) / ("dynamic" if config.dynamic else "static")
        folders = {part: find_checkpoint(part, config.checkpoint_dir) for part in PARTS}
        self.networks = Networks(Path(config.checkpoint_dir), self.device)
        self.generator, self.depth = self.networks.generator, self.networks.depth
        covered, moving = self.networks.tokenizer.statistics.max_latent_frames, config.dynamic
        weights = self.generator.network.config
        self.settings = clip_settings(SamplingConfig(), weights, covered, moving)
        self.fps = weights.sampling.fps
        self.size = (self.settings.height, self.settings.width)
        self.shots = list_shots(CameraConfig(multi=True, flipped=moving))
        decide = ("depth", "targets", "archives", "seed", "spread")
        self._made = {name: getattr(config, name) for name in decide}
        if config.detail != "plain":
            # Plain clips that were made before this setting stay valid.
            self._made["detail"] = config.detail
        self._made["weights"] = _fingerprint(list(folders.values()))

    def is_made(self, seed: int) -> bool:
        """Whether all clips of a world are there, made with this run's settings."""
        for shot in self.shots:
            paths = ClipPaths(self.root, shot.folder, _key(seed))
            if not is_finished(paths) or open_clip(paths).meta().get("made") != self._made:
                return False
        return True

    def drop_partial(self, seeds: Sequence[int]) -> int:
        """Remove worlds with missing clips; returns how many.

        Readers expect every key of a folder in all folders.
        """
        dropped = 0
        for seed in seeds:
            clips = [ClipPaths(self.root, shot.folder, _key(seed)) for shot in self.shots]
            # The file that a reader opens last is deleted first.
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
        """Returns the clips of some worlds, world by world; `worlds` saves building them."""
        if worlds is None:
            worlds = build_worlds(seeds, self.config.dynamic, detail=self.config.detail)
        with self.clock("scenes"):
            worlds = worlds.to(self.device)
            scenes = self._scenes(seeds, worlds)
            plans = [plan for seed, scene in scenes for plan in self._plans(seed, scene)]
        footage = self._footage(worlds, plans)
        with self.clock("copies"):
            footage = footage.cpu()
            cameras = [plan.cameras(self.size) for plan in plans]
            # Two copies instead of two of each clip.
            c2w = torch.stack([each.c2w for each in cameras]).cpu()
            lenses = torch.stack([each.intrinsics for each in cameras]).cpu()
        clips = []
        for index, plan in enumerate(plans):
            # The latents of a reversed clip show the video backwards.
            latents = None if plan.shot.backwards else footage.latents[index]
            depth = None if footage.depth is None else footage.depth[index]
            seen = replace(cameras[index], c2w=c2w[index], intrinsics=lenses[index])
            clip = Clip(seen, self.fps, footage.frames[index], latents, depth, plan.meta)
            clips.append((ClipPaths(self.root, plan.shot.folder, plan.key), clip))
        return clips

    def _footage(self, worlds: Worlds, plans: Sequence[ClipPlan]) -> ClipFootage:
        """Returns frames and latents, and depth if archives are wanted."""
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
        """Yields seed and scene of each world, seen by a still camera."""
        count = self.settings.num_frames if self.config.dynamic else 1
        still = torch.eye(4, device=self.device).expand(len(seeds), count, 4, 4)
        # Compiling the renderer would take longer than it saves on few frames.
        films = film_worlds(worlds, still, self._times(count), self.size, compile=False)
        names = depth_names(self.config.depth, seeds)
        estimated = [index for index, name in enumerate(names) if name == "nano"]
        # The frames of all worlds go through the network together.
        estimates = estimate_depths(self.depth, films.color[estimated].flatten(0, 1))
        for index, (seed, name) in enumerate(zip(seeds, names, strict=True)):
            color = films.color[index]
            own = [*islice(estimates, count)] if name == "nano" else films.depths(index)
            backend = ReplayedDepth(name, own)
            yield seed, world_scene(color, backend, self.settings.num_frames, self.fps)

    def _plans(self, seed: int, scene: Scene) -> Iterator[ClipPlan]:
        """Yields the plans of the clips of a scene, as in the commands."""
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
            rig = shot_rig(spec, seen.rig, height=self.size[0], width=self.size[1])
            yield ClipPlan(key=key, scene=seen, shot=shot, rig=rig, seed=drawn.seed, meta=meta)

    def _generate(self, plans: Sequence[ClipPlan]) -> ClipFootage:
        """Generates the clips of the plans."""
        parts = []
        with self.clock("warps"):
            for own in scene_groups(plans):
                rigs, seeds = [plan.rig for plan in own], [plan.seed for plan in own]
                parts.append(scene_starts(own[0].scene, rigs, seeds, self.networks.cache))
            starts = ClipStarts.concatenate(parts)
        latents = self.networks.generate(starts, self.clock)
        with self.clock("decode"):
            frames = decode_clips(self.generator, latents)
        reverse = torch.tensor([plan.shot.backwards for plan in plans], device=self.device)
        frames = torch.where(reverse[:, None, None, None, None], frames.flip(1), frames)
        return ClipFootage(frames, latents)

    def _film(self, worlds: Worlds, plans: Sequence[ClipPlan]) -> ClipFootage:
        """Renders the worlds along the plans' trajectories, with latents and depth."""
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
        """Returns the network's depth of each frame, 0 where unknown.

        Each frame has its own scale, which the depth loss ignores.
        """
        if self.config.archives == "none":
            return None
        found = estimate_depths(self.depth, frames.flatten(0, 1))
        maps = [torch.where(item.mask, item.depth, 0) for item in found]
        return torch.stack(maps).unflatten(0, frames.shape[:2])

    def _times(self, count: int) -> Float[Tensor, " frame"]:
        return torch.linspace(0, 1, count, device=self.device)


def scene_groups(plans: Sequence[ClipPlan]) -> list[list[ClipPlan]]:
    """Returns the plans of each scene, a world in one direction of time; they are neighbours."""
    return [[*own] for _, own in groupby(plans, key=lambda plan: (plan.key, plan.shot.backwards))]


def _key(seed: int) -> str:
    return f"world_{seed:06d}"


def _fingerprint(folders: Sequence[Path]) -> str:
    """Returns a digest of the weights; clips of other weights are made again."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
