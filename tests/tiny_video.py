"""Tiny moving scenes in every layout that the generator reads, all of the same content."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tiny_scene import FRAMES, HEIGHT, WIDTH
from torch import Tensor

from src.geometry.cameras import Cameras, intrinsics_to_matrix
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.io.cameras.frame_table import write_frame_table
from src.io.depth_file import write_depth_archive
from src.io.video.video import write_video

LENS = (40.0, 40.0, WIDTH / 2, HEIGHT / 2)


def frames(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A grey gradient that gets brighter with time: frame t is about 12 t brighter than frame 0."""
    grey = 40 + torch.arange(width)[None, None] + 12 * torch.arange(count)[:, None, None]
    return grey.expand(count, height, width)[..., None].repeat(1, 1, 1, 3).to(torch.uint8)


def depth(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Float[Tensor, "t h w"]:
    """A slope from 2.9 to 3.1 m; steeper pixels would count as edges."""
    return torch.linspace(2.9, 3.1, height)[None, :, None].expand(count, height, width).contiguous()


def cameras(count: int = FRAMES) -> Cameras:
    """A camera that moves up while the video runs."""
    w2c = make_trajectory(TrajectorySpec("up", 0.3), count)
    return Cameras(torch.linalg.inv(w2c), torch.tensor(LENS).repeat(count, 1), WIDTH, HEIGHT)


def write_vipe(root: Path, name: str = "clip", count: int = FRAMES, fps: float = 12.0) -> Path:
    """A ViPE result; returns its video."""
    video = root / "rgb" / f"{name}.mp4"
    write_video(video, frames(count), fps)
    write_depth_archive(root / "depth" / f"{name}.zip", depth(count))
    write_frame_table(root / "pose" / f"{name}.npz", cameras(count).c2w)
    write_frame_table(root / "intrinsics" / f"{name}.npz", cameras(count).intrinsics)
    return video


def write_tensors(path: Path, count: int = FRAMES) -> Path:
    """An `X.pt`."""
    image = frames(count).permute(0, 3, 1, 2).float() / 127.5 - 1
    z = depth(count)[:, None]
    K = intrinsics_to_matrix(cameras(count).intrinsics)
    torch.save((image, z, torch.ones_like(z), cameras(count).w2c, K), path)
    return path


def write_folder(root: Path, count: int = FRAMES, fps: float = 12.0) -> Path:
    """A folder of `rgb.mp4`, `depth.npz`, `mask.npz` and `camera.npz`."""
    root.mkdir(parents=True)
    write_video(root / "rgb.mp4", frames(count), fps)
    z = depth(count).numpy()
    np.savez(root / "depth.npz", depth=z)
    np.savez(root / "mask.npz", mask=np.ones_like(z, dtype=bool))
    K = intrinsics_to_matrix(cameras(count).intrinsics).numpy()
    np.savez(root / "camera.npz", w2c=cameras(count).w2c.numpy(), intrinsics=K)
    return root


def write_plain(path: Path, count: int = FRAMES, fps: float = 12.0) -> Path:
    """A video without depth and cameras."""
    write_video(path, frames(count), fps)
    return path
