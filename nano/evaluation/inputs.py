"""The inputs of held-out scenes: first frames (all frames of a moving one), depth and warps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings
from cosmos_predict1.diffusion.scenes.scene import Scene
from cosmos_predict1.diffusion.scenes.shots import Rig
from src.depth.backends.nano import NanoDepth
from src.depth.estimate import DepthEstimate
from src.geometry.cameras import Cameras, invert_rigid

from ..clips.networks import Video
from ..clips.sampling import ClipStarts, scene_starts
from ..clips.scenes import ReplayedDepth, estimate_depths, world_scene
from ..worlds.film import PooledClips

# Seeds of the noise of clips; any other numbers would do.
CLIPS_OF_A_SEED = 8
FPS = 24.0

Mask: TypeAlias = Bool[Tensor, "clip frame h w"]


@dataclass(frozen=True)
class Group:
    """Some worlds: their clips, the scenes of their inputs, and the warps of these."""

    pool: PooledClips
    truth: Video
    scenes: list[Scene]
    starts: ClipStarts
    cache: CacheSettings

    @staticmethod
    def of(pool: PooledClips, filmed: PooledClips, moving: bool, cache: CacheSettings) -> "Group":
        """Returns a group whose inputs are the first (if moving: all) frames of `filmed`."""
        scenes = [_true_scene(pool, filmed, world, moving) for world in range(len(pool))]
        truth = pool.color.flatten(0, 1).float() / 255
        return Group(pool, truth, scenes, _starts(pool, scenes, cache), cache)

    @property
    def paths(self) -> int:
        """The number of trajectories of a world."""
        return self.pool.c2w.shape[1]

    @property
    def visible(self) -> Mask:
        """The pixels that the inputs show, if depth is exact."""
        return self.starts.mask

    def estimated(self, network: NanoDepth) -> "Group":
        """Returns the group with depth, mask and lens of the small network, as the commands do.

        The median ratio brings the depth to the world's scale, so that the same cameras see the
        same things: a picture tells little of its scale.
        """
        scenes = [_estimated_scene(scene, network) for scene in self.scenes]
        return replace(self, scenes=scenes, starts=_starts(self.pool, scenes, self.cache))

    def clips(self, world: int) -> slice:
        """Returns the place of a world's clips."""
        return slice(world * self.paths, (world + 1) * self.paths)

    def cameras(self, world: int) -> Cameras:
        """Returns the cameras (trajectory, frame) of a world, with the lens of its scene."""
        c2w, (height, width) = self.pool.c2w[world], self.truth.shape[-2:]
        lens = self.scenes[world].sources.intrinsics[0].expand(*c2w.shape[:2], 4)
        return Cameras(c2w, lens, width, height)


def _true_scene(pool: PooledClips, filmed: PooledClips, world: int, moving: bool) -> Scene:
    """The scene of a world with its exact depth."""
    count = pool.c2w.shape[2]
    frames = slice(count if moving else 1)
    color = filmed.color[world, 0, :, frames].movedim(0, -1)
    lens, depth = filmed.intrinsics[world], filmed.depth[world, 0, frames].float()
    estimates = [DepthEstimate(part, part > 0, lens) for part in depth]
    return world_scene(color, ReplayedDepth("truth", estimates), count, FPS)


def _estimated_scene(truth: Scene, network: NanoDepth) -> Scene:
    """The scene with the depth of the small network at the scale of the true one."""
    sources, count = truth.sources, len(truth.rig)
    color = ((sources.image + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    backend = ReplayedDepth("nano", estimate_depths(network, color))
    scene = world_scene(color, backend, count, truth.fps)
    found = scene.sources
    ratio = (sources.depth[0] / found.depth[0])[found.depth[0] > 0].median()
    return replace(scene, sources=replace(found, depth=found.depth * ratio))


def _starts(pool: PooledClips, scenes: Sequence[Scene], cache: CacheSettings) -> ClipStarts:
    """Warps the scene of every world to the cameras of all its trajectories."""
    paths, count = pool.c2w.shape[1:3]
    parts = []
    for seed, scene, c2w in zip(pool.seeds, scenes, pool.c2w, strict=True):
        lens = scene.sources.intrinsics[:1].expand(count, 4)
        rigs = [Rig(lens, invert_rigid(path)) for path in c2w]
        numbers = [CLIPS_OF_A_SEED * seed + path for path in range(paths)]
        parts.append(scene_starts(scene, rigs, numbers, cache))
    return ClipStarts.concatenate(parts)
