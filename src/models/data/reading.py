"""Reads of one scene's clips only what is asked for, at the size of the examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras
from ...io.clip.clip import ClipPaths, ClipReader, open_clip
from ...io.clip.packed import PackedPath
from ...runtime import InputError
from ...tokenizer.cosmos import COMPRESSION, latent_frames
from ...tokenizer.statistics import LatentStatistics
from .transforms import ExampleFit

# Clips whose cameras each process keeps: a training opens the same ones in every epoch.
KEPT_CLIPS = 2**13


@dataclass
class ReadingConfig:
    """What is read of a scene, and of which scenes; defaults as published.

    Attributes:
        latents: inputs are the latents on disk; otherwise pictures.
        color: read the pictures of the targets.
        depth: read the depth maps of the targets.
        skip_unreadable: leave out scenes that cannot be read, with a warning, and count them.
        num_test_scenes: scenes held out for validation, and the most scenes of a test on all
            (None: no such limit, and 16 held out).
        seed: what all draws depend on.
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
    """The clips of one scene by trajectory, each opened once; sizes are (height, width)."""

    def __init__(self, root: Path, key: str, image_size: tuple[int, int]) -> None:
        self.root, self.key, self.image_size = root, key, image_size
        self._clips: dict[str, ClipReader] = {}

    def clip(self, trajectory: str) -> ClipReader:
        """The reader of one clip.

        Raises:
            InputError: a clip that is missing, damaged, or of another length than the first one.
        """
        if trajectory not in self._clips:
            clip = _open(ClipPaths(self.root, trajectory, self.key))
            first = next(iter(self._clips.values()), clip)
            if clip.num_frames != first.num_frames:
                expected = f"{first.num_frames} frames, as in {first.paths.rgb}"
                raise InputError(clip.paths.rgb, f"{clip.num_frames} frames", expected)
            self._clips[trajectory] = clip
        return self._clips[trajectory]

    def cameras(self, trajectory: str, frames: Sequence[int]) -> Cameras:
        """The cameras of `frames` for pictures of the examples' size."""
        cameras = self.clip(trajectory).cameras(frames)
        return ExampleFit((cameras.height, cameras.width), self.image_size).cameras(cameras)

    def color(
        self, trajectory: str, frames: Sequence[int]
    ) -> UInt8[Tensor, "frame 3 h w"] | Float[Tensor, "frame 3 h w"]:
        """The pictures of `frames`; see `ExampleFit.color` for their type."""
        clip = self.clip(trajectory)
        pictures = clip.frames(frames)
        size = (pictures.shape[1], pictures.shape[2])
        # The cameras are for the picture as it is stored, not for one turned by a tag.
        if size != (clip.info.height, clip.info.width):
            value = f"frames of {size[0]}x{size[1]}"
            expected = f"{clip.info.height}x{clip.info.width} pixels, not turned"
            raise InputError(clip.paths.rgb, value, expected)
        return ExampleFit(size, self.image_size).color(pictures)

    def depth(self, trajectory: str, frames: Sequence[int]) -> Float[Tensor, "frame h w"]:
        """The depth maps of `frames`, 0 where unknown."""
        depth = self.clip(trajectory).depth(frames)
        return ExampleFit((depth.shape[1], depth.shape[2]), self.image_size).depth(depth)

    def latents(
        self, trajectory: str, num_frames: int, statistics: LatentStatistics | None
    ) -> Float[Tensor, "channel latent_frame lh lw"]:
        """Raw latents of a whole clip; those on disk are normalised where `statistics` are given.

        Raises:
            InputError: latents of another length or size than pictures of `num_frames` frames.
        """
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
    """A reader of the clip, the one of last time where its files have not changed."""
    stamps = []
    for path in (paths.rgb, paths.pose, paths.intrinsics):
        # Clips in tar parts have no dates; what is missing is for `open_clip` to say.
        if isinstance(path, PackedPath) or not path.is_file():
            return open_clip(paths)
        status = path.stat()
        stamps.append((status.st_mtime_ns, status.st_size))
    return _open_once(paths, tuple(stamps))


@lru_cache(maxsize=KEPT_CLIPS)
def _open_once(paths: ClipPaths, stamps: tuple[tuple[int, int], ...]) -> ClipReader:
    del stamps
    return open_clip(paths)
