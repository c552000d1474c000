"""Inputs and clips in the published trees: the demo data set, and a training set in tar parts.

The demo repository holds pictures, a video with ViPE's results, and clips that were made of both.
Names of its inputs are those of the published command lines.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from published.random_tensors import RandomTensors
from torch import Tensor

from src.geometry.cameras import Cameras
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.io.cameras.frame_table import write_frame_table
from src.io.clip.clip import Clip, ClipPaths, write_clip
from src.io.depth_file import write_depth_archive
from src.io.video.video import write_video

FRAMES = 121
PICTURE, VIDEO = "00172", "6a71ee0422ff4222884f1b2a3cba6820"
PATHS = ("left", "right", "up", "zoom_out", "zoom_in", "clockwise")
KINDS = {"static": PICTURE, "dynamic": VIDEO}


@dataclass(frozen=True)
class ClipsSize:
    """Height and width of the pictures, and the number of frames."""

    height: int
    width: int
    frames: int = FRAMES


def _texture(size: ClipsSize, shift: Tensor) -> Tensor:
    """Soft coloured stripes [frame, h, w, 3], moved sideways by `shift` pixels of each frame."""
    rows = torch.linspace(0, 3, size.height)[None, :, None]
    columns = torch.linspace(0, 5, size.width)[None, None] + shift[:, None, None] / size.width
    parts = [(columns * (2 + n) + rows * (3 - n)).sin() for n in range(3)]
    return (127 + 100 * torch.stack(parts, dim=-1)).to(torch.uint8)


def write_picture(path: Path, size: ClipsSize) -> Path:
    """A picture."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_texture(size, torch.zeros(1))[0].numpy()).save(path)
    return path


def write_vipe(root: Path, key: str, size: ClipsSize) -> Path:
    """A ViPE result: a wall before a slowly moving camera; returns its video."""
    video = root / "rgb" / f"{key}.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    write_video(video, _texture(size, torch.arange(size.frames)), 24)
    slope = torch.linspace(0.9, 1.1, size.height)[None, :, None]
    write_depth_archive(root / "depth" / f"{key}.zip", slope.expand(size.frames, -1, size.width))
    cameras = _cameras(size, "up")
    write_frame_table(root / "pose" / f"{key}.npz", cameras.c2w)
    write_frame_table(root / "intrinsics" / f"{key}.npz", cameras.intrinsics)
    return video


def _cameras(size: ClipsSize, path: str) -> Cameras:
    c2w = torch.linalg.inv(make_trajectory(TrajectorySpec(path, 0.2), size.frames))
    lens = torch.tensor([0.8 * size.width, 0.8 * size.width, size.width / 2, size.height / 2])
    return Cameras(c2w, lens.repeat(size.frames, 1), size.width, size.height)


def write_clips(
    root: Path, key: str, size: ClipsSize, numbers: RandomTensors, trajectories: int = 6
) -> None:
    """Clips along the six paths with the published kinds of files alone; no `meta`.

    Those after the sixth have no latents: they are targets.
    """
    latent_size = (16, (size.frames - 1) // 8 + 1, size.height // 8, size.width // 8)
    depth = torch.linspace(0.9, 1.1, size.height)[None, :, None]
    for index in range(trajectories):
        paths = ClipPaths(root, str(index), key)
        cameras = _cameras(size, PATHS[index % 6])
        frames = _texture(size, torch.arange(size.frames) * (1 + index) / 2)
        latents = numbers.normal(latent_size, 0.5) if index < 6 else None
        depths = depth.expand(size.frames, -1, size.width)
        write_clip(paths, Clip(cameras, 24, frames, None, depths))
        if latents is not None:
            _write_latents(paths.latent, latents)
        paths.meta.unlink()
        paths.meta.parent.rmdir()


def _write_latents(path: Path, latents: Tensor) -> None:
    """As the published program does: `torch.save` of a numpy array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array: np.ndarray = latents[None].numpy()
    torch.save(array, path)


def write_demo_set(folder: Path, size: ClipsSize, numbers: RandomTensors) -> None:
    """The tree of the demo repository."""
    write_picture(folder / f"static/diffusion_input/images/{PICTURE}.png", size)
    write_vipe(folder / "dynamic/diffusion_input", VIDEO, size)
    for kind, key in KINDS.items():
        write_clips(folder / kind / "diffusion_output", key, size, numbers)
    (folder / "README.md").write_text("# Testing examples (a stand-in)\n")
    (folder / ".gitattributes").write_text("*.mp4 filter=lfs diff=lfs merge=lfs -text\n")


def write_training_parts(
    folder: Path, clips: Path, kind: str, parts: int = 2, name: str = "part"
) -> None:
    """Clips packed in tar parts, as the training set is published: files in no useful order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in clips.rglob("*") if path.is_file())
    for part in range(parts):
        with tarfile.open(folder / f"{name}-{part:05}.tar", "w") as archive:
            for path in files[part::parts]:
                archive.add(path, f"{kind}/{path.relative_to(clips)}")
