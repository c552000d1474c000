"""Clips on disk: the paths of their files, read and written whole or in parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras, check_poses
from ...runtime import InputError, natural_order
from ..cameras.frame_table import FrameTable, read_intrinsics, read_poses, write_frame_table
from ..depth_file import read_depth_archive, write_depth_archive
from ..json_object import read_json_object, write_json
from ..video.video import VideoInfo, read_video, video_header, write_video
from .latents import read_latents, write_latents
from .packed import as_path

SUFFIXES = {
    "rgb": ".mp4",
    "pose": ".npz",
    "intrinsics": ".npz",
    "latent": ".pkl",
    "depth": ".zip",
    "meta": ".json",
}
# Published roots may hold a file of this name.
NOT_A_TRAJECTORY = "flag"
REQUIRED = ("rgb", "pose", "intrinsics")


@dataclass(frozen=True)
class ClipPaths:
    """The paths of one clip's files; with an empty `trajectory` they lie in the root."""

    root: Path
    trajectory: str
    key: str

    def __post_init__(self) -> None:
        for name, value in (("clip key", self.key), ("trajectory", self.trajectory)):
            if "/" in value or "\0" in value or value.startswith("."):
                raise InputError(name, repr(value), "a file name that is not hidden")
        if not self.key:
            raise InputError("clip key", repr(self.key), "a file name")

    def part(self, name: str) -> Path:
        """The file of the part `rgb`, `pose`, `intrinsics`, `latent`, `depth` or `meta`."""
        return self.root / self.trajectory / name / f"{self.key}{SUFFIXES[name]}"

    # H.264 video, every frame of the clip.
    rgb = property(lambda self: self.part("rgb"))
    # Camera-to-world poses, and intrinsics in pixels of the video.
    pose = property(lambda self: self.part("pose"))
    intrinsics = property(lambda self: self.part("intrinsics"))
    # Latents of the whole clip, and depth maps.
    latent = property(lambda self: self.part("latent"))
    depth = property(lambda self: self.part("depth"))
    # How the clip was made; exists only for a finished clip.
    meta = property(lambda self: self.part("meta"))


def list_trajectories(root: Path | str) -> list[str]:
    """The names of the trajectory folders under `root`, numbers in numeric order."""
    root = as_path(root)
    if not root.is_dir():
        raise InputError(root, "no such folder", "a folder with one folder for each trajectory")
    names = [path.name for path in root.iterdir() if path.is_dir()]
    names = [name for name in names if name != NOT_A_TRAJECTORY and not name.startswith(".")]
    return sorted(names, key=natural_order)


def list_keys(root: Path | str, trajectories: Sequence[str] | None = None) -> list[str]:
    """The keys of clips, numbers in numeric order; `InputError` where `trajectories` differ."""
    root = as_path(root)
    names = list_trajectories(root) if trajectories is None else trajectories
    found = {name: _keys_of(root / name / "rgb") for name in names}
    keys = {key for present in found.values() for key in present}
    if not keys:
        raise InputError(root, "no <trajectory>/rgb/<key>.mp4", "a folder of clips")
    for name, present in found.items():
        if keys - present:
            key = min(keys - present, key=natural_order)
            other = next(other for other in found if key in found[other])
            expected = f"a clip {key!r} in every trajectory folder, as in {root / other}"
            raise InputError(ClipPaths(root, name, key).rgb, "no such file", expected)
    return sorted(keys, key=natural_order)


def _keys_of(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return {name.removesuffix(".mp4") for name in names if name.endswith(".mp4")}


@dataclass(frozen=True)
class Clip:
    """One clip in memory.

    `latents` are the sampler's normalised latents times 0.5; `depth` is z-depth in the unit of the
    poses; `meta` is free: seed, distance, prompt, versions.
    """

    cameras: Cameras
    fps: float | int
    frames: UInt8[Tensor, "frame h w 3"] | None = None
    latents: Float[Tensor, "channel latent_frame latent_h latent_w"] | None = None
    depth: Float[Tensor, "frame h w"] | None = None
    meta: Mapping[str, object] = field(default_factory=dict)


def write_clip(paths: ClipPaths, clip: Clip) -> None:
    """Write a clip; at any moment it is either finished or recognised as unfinished.

    Every file is written atomically, `meta` last; the `meta` of an earlier clip of this name is
    removed first. Without `clip.frames` the video must be there already (a `VideoWriter` may have
    written it while the frames were decoded). Raises `InputError` for poses that are not rigid, odd
    picture sizes, a missing video.
    """
    parts = [*REQUIRED]
    parts += ["latent"] if clip.latents is not None else []
    parts += ["depth"] if clip.depth is not None else []
    check_poses(clip.cameras.c2w, paths.pose)
    paths.meta.unlink(missing_ok=True)

    if clip.latents is not None:
        write_latents(paths.latent, clip.latents)
    if clip.depth is not None:
        assert len(clip.depth) == len(clip.cameras), f"{len(clip.depth)} depth maps"
        write_depth_archive(paths.depth, clip.depth)
    write_frame_table(paths.pose, clip.cameras.c2w)
    write_frame_table(paths.intrinsics, clip.cameras.intrinsics)
    if clip.frames is not None:
        write_video(paths.rgb, clip.frames, clip.fps)
    found = video_header(paths.rgb)
    height, width = clip.cameras.height, clip.cameras.width
    expected = replace(found, num_frames=len(clip.cameras), height=height, width=width)
    assert found == expected, f"{paths.rgb} is {found}, the cameras are for {expected}"
    write_json(paths.meta, {**clip.meta, "files": parts}, indent=2)


def is_finished(paths: ClipPaths) -> bool:
    """Whether `write_clip` finished the clip and all of its files are still there."""
    if not paths.meta.is_file():
        return False
    parts = read_json_object(paths.meta).get("files")
    known = [*SUFFIXES]
    if (
        not isinstance(parts, list)
        or any(part not in known for part in parts)
        or not set(REQUIRED) <= set(parts)
    ):
        expected = f"a list of {known}, at least {list(REQUIRED)}"
        raise InputError(paths.meta, f"files {parts}", expected)
    return all(paths.part(part).is_file() for part in parts)


@dataclass(frozen=True)
class ClipReader:
    """Reads the parts of one clip on demand; see `open_clip`.

    Frames are named by their number in the video. Every method raises `InputError` for a file that
    is missing, truncated or damaged, or lacks a frame.
    """

    paths: ClipPaths
    info: VideoInfo
    poses: FrameTable
    intrinsics: FrameTable

    @property
    def num_frames(self) -> int:
        """The number of frames of the clip."""
        return self.info.num_frames

    @property
    def has_depth(self) -> bool:
        """Whether the clip has depth maps."""
        return self.paths.depth.is_file()

    def cameras(self, indices: Sequence[int] | None = None) -> Cameras:
        """The cameras of the frames `indices`, or of all, for pictures of the video's size."""
        frames = torch.tensor(range(self.num_frames) if indices is None else list(indices)).long()
        c2w, intrinsics = self.poses.at(frames), self.intrinsics.at(frames)
        return Cameras(c2w, intrinsics, width=self.info.width, height=self.info.height)

    def frames(self, indices: Sequence[int] | None = None) -> UInt8[Tensor, "frame h w 3"]:
        """The pictures of the frames `indices` (any order, repeats allowed), or of all."""
        return read_video(self.paths.rgb, indices)

    def latents(self) -> Float[Tensor, "channel latent_frame latent_h latent_w"]:
        """The latents of the whole clip: normalised latents times 0.5."""
        return read_latents(self.paths.latent)

    def depth(self, indices: Sequence[int] | None = None) -> Float[Tensor, "frame h w"]:
        """The depth maps of the frames `indices`, or of all; unknown is <= 0 or not finite."""
        return read_depth_archive(self.paths.depth, indices)

    def meta(self) -> dict:
        """How the clip was made; empty for published clips."""
        return read_json_object(self.paths.meta) if self.paths.meta.is_file() else {}


def open_clip(paths: ClipPaths) -> ClipReader:
    """A reader of the clip, its cameras read and checked, pictures and latents not.

    The tables of published clips, which have no `meta`, may have more rows than the video has
    frames; surplus rows are ignored, as published readers do. Raises `InputError` for a missing or
    damaged video, pose or intrinsics file, invalid cameras, fewer rows than frames, or more in a
    clip that this project wrote.
    """
    info = video_header(paths.rgb)
    poses, intrinsics = read_poses(paths.pose), read_intrinsics(paths.intrinsics)
    for table in (poses, intrinsics):
        surplus = len(table) - info.num_frames
        if surplus < 0 or (surplus > 0 and paths.meta.is_file()):
            expected = f"{info.num_frames} rows, as many as {paths.rgb} has frames"
            raise InputError(table.path, f"{len(table)} rows", expected)
    return ClipReader(paths, info, poses=poses, intrinsics=intrinsics)
