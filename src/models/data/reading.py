"""Reads the needed parts of a scene's clips, at the size of the examples: (height, width)."""

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
from ...tokenizer.cosmos import COMPRESSION, LatentStatistics, latent_frames
from .fit import ExampleFit

# Opened clips that each process keeps: a training comes back to them in every epoch.
KEPT_CLIPS = 2**13


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
