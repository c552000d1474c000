"""Scenes for the tests of exports: spread Gaussians, faint ones, and a result of sample.py."""

from pathlib import Path

import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.cameras.file import CameraFile, write_camera_file
from src.io.ply import write_ply
from src.io.scene import SplatScene, read_scene
from src.io.video.video import write_video

SIDE = 8


def spread(shift: float = 0.0, seed: int = 3) -> Gaussians:
    """512 Gaussians on a jittered grid, so that each is known by its place; moved along x."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    steps = torch.stack(torch.meshgrid(*[torch.arange(float(SIDE))] * 3, indexing="ij"), dim=-1)
    count = SIDE**3
    means = (steps.reshape(-1, 3) - 3.5) / 4 + 0.05 * uniform(count, 3)
    return Gaussians(
        means=means + torch.tensor([shift, 0, 0]),
        opacities=0.01 + 0.98 * uniform(count),
        scales=torch.exp(-7 + 5 * uniform(count, 3)),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        colors=uniform(count, 3),
    )


def faint(rows: int = 60, columns: int = 80) -> Gaussians:
    """Gaussians like nano's: one a pixel, in that order, nearly transparent, of similar colours."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(rows * columns, 14, generator=generator)
    across, down = torch.linspace(-0.7, 0.7, columns), torch.linspace(-0.5, 0.5, rows)
    slope = torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).reshape(-1, 2).flip(1)
    depth = 1.5 + slope[:, :1] + 0.05 * noise[:, :1]
    return Gaussians(
        means=torch.cat([slope * depth, depth], dim=1),
        opacities=torch.sigmoid(-4 + 1.5 * noise[:, 3]),
        scales=torch.exp(-2.4 + 0.3 * noise[:, 4:7]),
        quats=torch.nn.functional.normalize(noise[:, 7:11], dim=1),
        colors=0.5 + 0.1 * noise[:, 11:].clamp(-3, 3),
    )


def three_cameras(width: int = 48, height: int = 36) -> Cameras:
    """Cameras beside each other at the origin, looking along z; the lens is not centred."""
    c2w = torch.eye(4).repeat(3, 1, 1)
    c2w[:, 0, 3] = torch.tensor([0.0, -0.1, 0.15])
    c2w[:, 1, 3] = torch.tensor([0.0, 0.05, -0.1])
    turn = torch.tensor([0.0, 0.2, -0.1])
    c2w[:, 0, 0] = c2w[:, 2, 2] = turn.cos()
    c2w[:, 0, 2], c2w[:, 2, 0] = turn.sin(), -turn.sin()
    intrinsics = torch.tensor([[38.0, 40.0, 22.0, 19.0]]) + torch.arange(3.0)[:, None]
    return Cameras(c2w, intrinsics, width, height)


def results(folder: Path, gaussians: Gaussians, cameras: Cameras, frames: torch.Tensor) -> Path:
    """The files of sample.py that an export reads: a trajectory of two frames and one of one."""
    write_ply(folder / "gaussians_orig/gaussians_0.ply", gaussians)
    write_camera_file(folder / "scenes/0/cameras.json", CameraFile(cameras, 24))
    for position, part in enumerate((frames[:2], frames[2:])):
        write_video(folder / f"raw/rgb_0_view_idx_{position}.mp4", part, 24, quality=10)
    return folder


def scene_of(*moments: Gaussians, step: float = 0.25) -> SplatScene:
    """A scene of moments at equal steps of time."""
    return SplatScene(moments, tuple(step * number for number in range(len(moments))))


def read_back(folder: Path) -> SplatScene:
    """A scene with its cameras."""
    scene = read_scene(folder)
    assert scene.results is not None
    return scene
