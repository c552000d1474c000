"""Reads the needed parts of a scene's clips, at the size of the examples: (height, width)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras
from ...io.clip.clip import ClipPaths, ClipReader, open_clip
from ...io.clip.packed import PackedPath
from ...runtime import InputError
from ...tokenizer.cosmos import COMPRESSION, LatentStatistics, latent_frames

# Opened clips that each process keeps: a training comes back to them in every epoch.
KEPT_CLIPS = 2**13
# Frames that are converted to float at once: 86 MB at 704x1280.
CHUNK = 8


@dataclass(kw_only=True)
class ReadingConfig:
    """The parts of a scene that are read, and the scenes; defaults as published.

    Attributes:
        latents: inputs are the latents on disk; otherwise pictures.
        color: read the pictures of the targets.
        depth: read the depth maps of the targets.
        skip_unreadable: leave out scenes that cannot be read, with a warning.
        num_test_scenes: number of scenes held out for validation, and the most scenes of a test
            on all (None: no limit, and 16 held out).
        seed: of all draws.
    """

    latents: bool = True
    color: bool = True
    depth: bool = False
    skip_unreadable: bool = False
    num_test_scenes: int | None = 16
    seed: int = 42

    def __post_init__(self) -> None:
        for name, value in (("num_test_scenes", self.num_test_scenes), ("seed", self.seed)):
            if value is not None and value < 0:
                raise InputError(name, value, "0 or more")


class SceneReader:
    """Reads the clips of one scene, each opened once; `image_size` is (height, width)."""

    def __init__(self, root: Path, key: str, image_size: tuple[int, int]) -> None:
        self.root, self.key, self.image_size = root, key, image_size
        self._clips: dict[str, ClipReader] = {}

    def clip(self, trajectory: str) -> ClipReader:
        """Opens a clip; `InputError` if it is missing, damaged, or not as long as the first one."""
        if trajectory not in self._clips:
            clip = _open(ClipPaths(self.root, trajectory, self.key))
            first = next(iter(self._clips.values()), clip)
            if clip.num_frames != first.num_frames:
                expected = f"{first.num_frames} frames, as in {first.paths.rgb}"
                raise InputError(clip.paths.rgb, f"{clip.num_frames} frames", expected)
            self._clips[trajectory] = clip
        return self._clips[trajectory]

    def cameras(self, trajectory: str, frames: Sequence[int]) -> Cameras:
        """Returns the cameras of `frames` for pictures of the examples' size."""
        cameras = self.clip(trajectory).cameras(frames)
        return ExampleFit((cameras.height, cameras.width), self.image_size).cameras(cameras)

    def color(
        self, trajectory: str, frames: Sequence[int]
    ) -> UInt8[Tensor, "frame 3 h w"] | Float[Tensor, "frame 3 h w"]:
        """Reads the pictures of `frames`; `ExampleFit.color` tells their type."""
        clip = self.clip(trajectory)
        pictures = clip.frames(frames)
        size = (pictures.shape[1], pictures.shape[2])
        # The cameras belong to the picture as stored, not to one turned by a rotation tag.
        if size != (clip.info.height, clip.info.width):
            value = f"frames of {size[0]}x{size[1]}"
            expected = f"{clip.info.height}x{clip.info.width} pixels, not turned"
            raise InputError(clip.paths.rgb, value, expected)
        return ExampleFit(size, self.image_size).color(pictures)

    def depth(self, trajectory: str, frames: Sequence[int]) -> Float[Tensor, "frame h w"]:
        """Reads the depth maps of `frames`, 0 where unknown."""
        depth = self.clip(trajectory).depth(frames)
        return ExampleFit((depth.shape[1], depth.shape[2]), self.image_size).depth(depth)

    def latents(
        self, trajectory: str, num_frames: int, statistics: LatentStatistics | None
    ) -> Float[Tensor, "channel latent_frame lh lw"]:
        """Reads the latents of a clip of `num_frames`, denormalised if there are `statistics`."""
        clip = self.clip(trajectory)
        if clip.num_frames != num_frames:
            expected = f"{num_frames}: latents are always of whole clips"
            raise InputError(clip.paths.rgb, f"{clip.num_frames} frames", expected)
        latents = clip.latents()
        height, width = self.image_size
        channels = len(latents) if statistics is None else len(statistics.mean)
        cells = (height // COMPRESSION, width // COMPRESSION)
        wanted = (channels, latent_frames(num_frames), *cells)
        if tuple(latents.shape) != wanted:
            expected = f"{list(wanted)} for {num_frames} frames of {height}x{width} pixels"
            raise InputError(clip.paths.latent, f"latents {list(latents.shape)}", expected)
        return latents if statistics is None else statistics.denormalise(latents)


def _open(paths: ClipPaths) -> ClipReader:
    """Opens a clip, or returns the reader of last time if the files have not changed."""
    stamps = []
    for path in (paths.rgb, paths.pose, paths.intrinsics):
        # Clips in tar parts have no dates, and `open_clip` names missing files.
        if isinstance(path, PackedPath) or not path.is_file():
            return open_clip(paths)
        status = path.stat()
        stamps.append((status.st_mtime_ns, status.st_size))
    return _open_once(paths, tuple(stamps))


@lru_cache(maxsize=KEPT_CLIPS)
def _open_once(paths: ClipPaths, _stamps: tuple[tuple[int, int], ...]) -> ClipReader:
    return open_clip(paths)


@dataclass(frozen=True)
class ExampleFit:
    """The largest centred crop of pictures of size `source`, then a resize to size `target`.

    Pictures are resized bilinearly with antialiasing, depth to the nearest pixel. Cameras follow:
    `fx' = fx sx`, `cx' = (cx - left) sx`, with `sx` = new width / crop width.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def crop(self) -> tuple[int, int]:
        """The size of the largest box in the source with the aspect ratio of the target."""
        (height, width), (new_height, new_width) = self.source, self.target
        if width * new_height > height * new_width:
            return height, max(height * new_width // new_height, 1)
        return max(width * new_height // new_width, 1), width

    def cameras(self, cameras: Cameras) -> Cameras:
        """Returns the cameras of the fitted pictures; the box is exactly centred."""
        assert (cameras.height, cameras.width) == self.source, f"{cameras.height}x{cameras.width}"
        height, width = self.crop
        margins = (cameras.width - width, cameras.height - height)
        shift = cameras.intrinsics.new_tensor([0, 0, -margins[0] / 2, -margins[1] / 2])
        box = Cameras(cameras.c2w, cameras.intrinsics + shift, width, height)
        return box.resized(self.target[1], self.target[0])

    def color(
        self, frames: UInt8[Tensor, "frame h w 3"]
    ) -> UInt8[Tensor, "frame 3 new_h new_w"] | Float[Tensor, "frame 3 new_h new_w"]:
        """Returns the fitted pictures: unchanged if the size is right, else floats in [0, 1]."""
        pictures = frames.movedim(-1, 1)
        if self.source == self.target:
            return pictures
        return torch.cat([self._resize(chunk.float() / 255) for chunk in pictures.split(CHUNK)])

    def depth(self, depth: Float[Tensor, "frame h w"]) -> Float[Tensor, "frame new_h new_w"]:
        """Returns the fitted depth maps; unknown depth (not finite, not positive) becomes 0."""
        depth = torch.where(torch.isfinite(depth) & (depth > 0), depth, 0.0)
        if self.source == self.target:
            return depth
        (height, width), (crop_height, crop_width) = self.source, self.crop
        # Python rounds halves to even: an odd margin moves the box to the even side.
        top, left = round((height - crop_height) / 2), round((width - crop_width) / 2)
        box = depth[:, None, top : top + crop_height, left : left + crop_width]
        return F.interpolate(box, self.target, mode="nearest")[:, 0]

    def _resize(
        self, pictures: Float[Tensor, "frame 3 h w"]
    ) -> Float[Tensor, "frame 3 new_h new_w"]:
        for dim, size in ((-2, self.crop[0]), (-1, self.crop[1])):
            pictures = _centred(pictures, dim, size)
        return F.interpolate(
            pictures, self.target, mode="bilinear", antialias=True, align_corners=False
        )


def _centred(
    pictures: Float[Tensor, "frame 3 h w"], dim: int, size: int
) -> Float[Tensor, "frame 3 cropped_h cropped_w"]:
    """Returns the middle `size` rows or columns.

    With an odd margin it averages the two middle boxes: a box half a pixel off centre would
    contradict the cameras.
    """
    margin = pictures.shape[dim] - size
    low = pictures.narrow(dim, margin // 2, size)
    return low if margin % 2 == 0 else (low + pictures.narrow(dim, margin // 2 + 1, size)) / 2
