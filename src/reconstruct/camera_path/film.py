"""Videos of a scene along a camera path, colour and coloured depth."""

import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...io.image import to_uint8
from ...io.scene import SplatScene
from ...io.video.video import VideoWriter
from ...rendering.options import RasterizeOptions
from ...rendering.rasterize import Backend, choose_backend, rasterize
from ...runtime import InputError, default_device, progress
from ...visualization import MAX_SAMPLES, colorize_depth, depth_range
from ..pictures import FRAMES_PER_BATCH
from .path import CameraPath

# Out of 10; higher than the results of sample.py, which are many.
QUALITY = 8
# Times of files have at least four decimals.
CLOCK_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class FilmConfig:
    """The files of a film and the way it is rendered.

    Attributes:
        video: mp4 of the colours.
        depth: mp4 of the coloured depth; None for none.
        background: red, green, blue in [0, 1].
        loop: a moving scene begins again after its last moment, which otherwise stays.
        rasterizer: gsplat's kernels or their twin in torch.
        device: where it is rendered.
    """

    video: Path
    depth: Path | None = None
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    loop: bool = False
    rasterizer: Backend = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for path in (self.video, self.depth):
            if path is not None and path.suffix.lower() != ".mp4":
                raise InputError(path, f"suffix {path.suffix!r}", "a video that ends with .mp4")
        if self.depth is not None and self.depth.resolve() == self.video.resolve():
            raise InputError(self.depth, "the colours and the depth", "two files")
        if not all(0 <= value <= 1 for value in self.background):
            raise InputError("background", self.background, "red, green, blue in [0, 1]")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device", self.device, "cpu or auto: no CUDA device answers")

    @property
    def torch_device(self) -> torch.device:
        """The device of the rendering."""
        return torch.device("cpu") if self.device == "cpu" else default_device()


@torch.no_grad()
def render_path(scene: SplatScene, path: CameraPath, config: FilmConfig) -> None:
    """Writes the videos of a path; neither appears before both are whole.

    Raises:
        InputError: a target that cannot be written (before any frame is rendered); a rasterizer
            that is not installed.
    """
    choose_backend(config.torch_device, config.rasterizer)
    cameras = path.cameras
    with ExitStack() as stack:
        video = stack.enter_context(VideoWriter(config.video, path.fps, QUALITY))
        depths, depth_video = None, None
        if config.depth is not None:
            depth_video = stack.enter_context(VideoWriter(config.depth, path.fps, QUALITY))
            file = stack.enter_context(tempfile.TemporaryFile())
            depths = DepthFile(file, len(cameras), cameras.height, cameras.width)
        for color, depth in _rendered(scene, path, config):
            video.write(color)
            if depths is not None:
                depths.add(depth)
        if depths is not None and depth_video is not None:
            for frames in depths.colored():
                depth_video.write(frames)


def moment_numbers(seconds: Sequence[float], times: Sequence[float], loop: bool) -> list[int]:
    """Returns the moment that is shown at each second: the last one that has begun.

    `times` are the moments' seconds. Before the first one, it is shown; after the last one, it
    stays, or with `loop` the first one follows.
    """
    if len(times) == 1:
        return [0] * len(seconds)
    span = times[-1] - times[0]
    length = span + span / (len(times) - 1)
    numbers = []
    for second in seconds:
        second += CLOCK_TOLERANCE
        if loop:
            second = times[0] + (second - times[0]) % length
        numbers.append(max(0, bisect_right(times, second) - 1))
    return numbers


def _rendered(
    scene: SplatScene, path: CameraPath, config: FilmConfig
) -> Iterator[tuple[UInt8[Tensor, "_ h w 3"], Float[Tensor, "_ h w"]]]:
    """Yields colours and depths (camera z, world units) of a few frames at a time."""
    options = RasterizeOptions(background=config.background, depth=config.depth is not None)
    device, cameras = config.torch_device, path.cameras
    numbers = moment_numbers(path.seconds, scene.times, config.loop)
    shown, loaded = -1, None
    for number, batch in progress(_batches(numbers), "frames"):
        if loaded is None or number != shown:
            shown, loaded = number, scene.moments[number].to(device)
        seen = cameras[batch].to(device)
        rendered = rasterize(loaded, seen, options, backend=config.rasterizer)
        yield to_uint8(rendered.color, 0, 1).permute(0, 2, 3, 1), rendered.depth[:, 0]


def _batches(numbers: list[int]) -> list[tuple[int, slice]]:
    """Returns runs of frames of one moment, as the moment's number and the frames."""
    batches, start = [], 0
    for number, group in groupby(numbers):
        end = start + len(list(group))
        cuts = range(start, end, FRAMES_PER_BATCH)
        batches += [(number, slice(cut, min(cut + FRAMES_PER_BATCH, end))) for cut in cuts]
        start = end
    return batches


@dataclass
class DepthFile:
    """Depths of a whole video in an open temporary file, until their common range is known."""

    file: Any
    count: int
    height: int
    width: int
    _samples: list[Float[Tensor, " sample"]] = field(default_factory=list)
    _pixels: int = 0

    def add(self, depth: Float[Tensor, "_ h w"]) -> None:
        """Appends frames."""
        values = depth.cpu().contiguous()
        values.numpy().astype(np.float32, copy=False).tofile(self.file)
        # The sample that `depth_range` takes of all frames together.
        step = max(1, self.count * self.height * self.width // MAX_SAMPLES)
        self._samples.append(values.flatten()[-self._pixels % step :: step].clone())
        self._pixels += values.numel()

    def colored(self) -> Iterator[UInt8[Tensor, "1 h w 3"]]:
        """Yields the frames in colours, near red and far blue, on one scale for all."""
        limits = depth_range(torch.cat(self._samples))
        self.file.seek(0)
        for _ in range(self.count):
            values = np.fromfile(self.file, np.float32, self.height * self.width)
            frame = torch.from_numpy(values).reshape(1, self.height, self.width)
            yield colorize_depth(frame, limits)
