"""Procedural worlds as scenes of the commands: a picture, or a still camera's video.

Depth is that of the small network, scaled as in the commands, or the world's own in its unit.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import SourceFrames
from cosmos_predict1.diffusion.scenes.scene import Scene, SceneSize, still_scene, to_device
from cosmos_predict1.diffusion.scenes.shots import Rig
from src.depth.backends.choice import in_scene_unit, nano_estimates
from src.depth.backends.moge import prepare_image
from src.depth.backends.nano import NanoDepth
from src.depth.backends.video import FrameByFrame, VideoFrames
from src.depth.estimate import DepthEstimate
from src.geometry.fit import WHOLE, Region

DepthName = Literal["nano", "truth"]
# Frames that the depth network sees at once.
FRAMES_AT_ONCE = 128


class ReplayedDepth:
    """A depth backend that returns estimates made before, one a call."""

    def __init__(self, name: DepthName, estimates: Iterable[DepthEstimate]) -> None:
        self.name, self.scene_scale = name, name == "truth"
        self._estimates: Iterator[DepthEstimate] = iter(estimates)

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Returns the next estimate."""
        return next(self._estimates)


def estimate_depths(
    network: NanoDepth, color: UInt8[Tensor, "frame h w 3"]
) -> Iterator[DepthEstimate]:
    """Yields the network's estimate of each frame, in order; batches the frames."""
    for part in color.split(FRAMES_AT_ONCE):
        yield from nano_estimates(network, part.movedim(-1, 1).float() / 255)


def world_scene(
    color: UInt8[Tensor, "frame h w 3"], backend: ReplayedDepth, num_frames: int, fps: float
) -> Scene:
    """Returns the scene of one frame, or of a still camera's video of `num_frames` frames."""
    device, (height, width) = color.device, color.shape[1:3]
    if len(color) == 1:
        size = SceneSize(height, width, num_frames)
        return to_device(still_scene(color[0].cpu(), backend, size, fps), device)
    assert len(color) == num_frames, f"{len(color)} frames for clips of {num_frames}"
    frames = color.movedim(-1, 1).float() / 255
    video, divisor = in_scene_unit(FrameByFrame(backend)(VideoFrames(frames)), backend)
    framed = [
        prepare_image(frame, video.frame(row), height, width) for row, frame in enumerate(frames)
    ]
    depth = torch.stack([frame.estimate.depth for frame in framed])
    known = torch.stack([frame.estimate.mask for frame in framed]) & (depth > 0)
    image = torch.stack([frame.image for frame in framed])
    lens, pose = video.intrinsics.expand(num_frames, 4), torch.eye(4, device=device)
    sources = SourceFrames(image, depth, lens, pose.expand(num_frames, 4, 4), known)
    record = {"depth": backend.name, "depth_divisor": divisor}
    rig = Rig(sources.intrinsics, sources.w2c)
    return Scene(sources, image[0], rig, fps, True, record)


def depth_names(depth: Literal["nano", "truth", "mixed"], seeds: Sequence[int]) -> list[DepthName]:
    """Returns the source of each world's depth; `mixed` takes the truth for odd seeds."""
    if depth == "mixed":
        return ["truth" if seed % 2 else "nano" for seed in seeds]
    return [depth] * len(seeds)
