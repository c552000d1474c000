"""Training clips of a folder in the clip format; their source is frame 0 with its depth."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from src.geometry.cameras import invert_rigid
from src.io.clip.clip import ClipPaths, ClipReader, list_keys, list_trajectories, open_clip
from src.runtime import InputError

from ..diffusion.model.architecture import SamplingDefaults
from .sources import SourcedClips


def list_clips(root: Path) -> list[ClipPaths]:
    """Returns all clips of a folder, sorted by scene.

    Raises:
        InputError: there are none.
    """
    found = [
        ClipPaths(root, trajectory, key)
        for trajectory in list_trajectories(root)
        for key in list_keys(root, [trajectory])
    ]
    if not found:
        raise InputError(root, "no clips", "a folder of clips: <trajectory>/rgb/<key>.mp4, ...")
    return sorted(found, key=lambda paths: (paths.key, paths.trajectory))


def split_clips(
    clips: Sequence[ClipPaths], held_out: int
) -> tuple[list[ClipPaths], list[ClipPaths]]:
    """Returns training clips, and at least `held_out` clips of other scenes.

    Nothing is held out if no scene would be left for training.
    """
    keys = sorted({paths.key for paths in clips})
    kept: set[str] = set()
    for key in reversed(keys):
        if sum(paths.key in kept for paths in clips) >= held_out:
            break
        kept.add(key)
    if len(kept) == len(keys):
        kept = set()
    training = [paths for paths in clips if paths.key not in kept]
    return training, [paths for paths in clips if paths.key in kept]


def folder_clips(
    clips: Sequence[ClipPaths], size: SamplingDefaults, device: torch.device
) -> Iterator[SourcedClips]:
    """Yield clip after clip.

    Raises:
        InputError: a clip without depth, too short, or not of the weights' size or frame rate.
    """
    for paths in clips:
        reader = open_clip(paths)
        _check(reader, size)
        frames = list(range(size.num_frames))
        cameras, video = reader.cameras(frames), reader.frames(frames).movedim(-1, 1)
        depth = reader.depth([0])
        # Depth that is not positive or not finite is unknown.
        known = depth.where(depth.isfinite() & (depth > 0), 0)
        w2c = invert_rigid(cameras.c2w)
        yield SourcedClips(
            video=video[None].to(device),
            source=video[None, :1].to(device),
            depth=known[None].to(device),
            source_w2c=w2c[None, :1].to(device),
            w2c=w2c[None].to(device),
            intrinsics=cameras.intrinsics[None].to(device),
            keys=(f"{paths.trajectory}/{paths.key}",),
        )


def _check(reader: ClipReader, size: SamplingDefaults) -> None:
    """Raise `InputError` for a clip that does not fit the weights."""
    source, info = reader.paths.rgb, reader.info
    if not reader.has_depth:
        expected = "depth of frame 0 (scripts/add_depth.py writes it)"
        raise InputError(source, "a clip without depth", expected)
    if (info.height, info.width) != (size.height, size.width):
        expected = f"{size.height}x{size.width}, that of the weights"
        raise InputError(source, f"pictures of {info.height}x{info.width}", expected)
    if info.num_frames < size.num_frames:
        raise InputError(source, f"{info.num_frames} frames", f"at least {size.num_frames}")
    if abs(info.fps - size.fps) > 0.01:
        raise InputError(source, f"{info.fps} fps", f"{size.fps}, that of the weights")
