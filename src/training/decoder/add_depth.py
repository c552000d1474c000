"""Depth maps for the clips of a folder, by any depth backend."""

from pathlib import Path

import torch

from ...depth.backends.video import VideoDepthBackend, VideoFrames
from ...io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from ...io.depth_file import count, write_depth_archive
from ...runtime import InputError, progress


@torch.no_grad()
def add_depth(root: Path, backend: VideoDepthBackend, overwrite: bool = False) -> tuple[int, int]:
    """Write the missing depth archives of all clips under `root`; unknown depth is 0.

    Returns the number of written archives and of those that existed. Raises `InputError` if there
    are no clips, or a video cannot be read; written archives stay.
    """
    clips = [
        ClipPaths(root, trajectory, key)
        for trajectory in list_trajectories(root)
        for key in list_keys(root, [trajectory])
    ]
    missing = [paths for paths in clips if overwrite or not _has_depth(paths)]
    for paths in progress(missing, "depth", len(missing)):
        frames = open_clip(paths).frames().movedim(-1, 1).float() / 255
        estimate = backend(VideoFrames(frames))
        known = estimate.mask & estimate.depth.isfinite() & (estimate.depth > 0)
        if not known.any():
            raise InputError(paths.rgb, "no pixel of known depth", f"depth by {backend.name}")
        write_depth_archive(paths.depth, torch.where(known, estimate.depth, 0).float().cpu())
    return len(missing), len(clips) - len(missing)


def _has_depth(paths: ClipPaths) -> bool:
    """Whether each frame has a depth map."""
    return paths.depth.is_file() and count(paths.depth) == open_clip(paths).num_frames
