"""A small scene at three moments with cameras and clips, as `sample.py` leaves it."""

from pathlib import Path

import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.cameras.file import CameraFile, write_camera_file
from src.io.json_object import write_json
from src.io.ply import write_ply
from src.io.video.video import write_video

WIDTH, HEIGHT, FRAMES = 160, 90, 9
PATHS = ("right", "up")
TIMES = (0, 4, 8)
# Colours of the moments and of the two clips.
MOMENT_COLORS = ((0.8, 0.2, 0.2), (0.2, 0.7, 0.2), (0.2, 0.2, 0.8))
CLIP_COLORS = ((240, 200, 20), (20, 200, 240))


def ball(color: tuple[float, float, float], count: int = 400) -> Gaussians:
    """A ball of Gaussians at distance 1, darker to the left; random in place alone."""
    generator = torch.Generator().manual_seed(4)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    means = means * 0.25 * torch.rand(count, 1, generator=generator) ** (1 / 3)
    shade = (means[:, :1] / 0.5 + 0.5).clamp(0, 1)
    return Gaussians(
        means=means + torch.tensor([0.0, 0.0, 1.0]),
        opacities=torch.linspace(0.02, 0.9, count),
        scales=torch.full((count, 3), 0.03),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        colors=torch.tensor(color) * (0.4 + 0.6 * shade),
    )


def poses(name: str) -> torch.Tensor:
    """A camera that moves to one side by 0.4."""
    c2w = torch.eye(4).repeat(FRAMES, 1, 1)
    way = torch.linspace(0, 0.4, FRAMES)
    c2w[:, 0 if name == "right" else 1, 3] = way if name == "right" else -way
    return c2w


def write_tiny_page_scene(folder: Path, moving: bool = True) -> Path:
    """Writes the scene below `folder`; returns the folder for `scripts/view.py`."""
    for name, color in zip(PATHS, CLIP_COLORS, strict=True):
        frames = torch.tensor(color, dtype=torch.uint8).expand(FRAMES, HEIGHT, WIDTH, 3)
        write_video(folder / f"clips/{name}/rgb/tiny.mp4", frames.contiguous(), 24)
    c2w = torch.cat([poses(name) for name in PATHS])
    lens = torch.tensor([140.0, 140.0, WIDTH / 2, HEIGHT / 2]).repeat(len(c2w), 1)
    contents = CameraFile(Cameras(c2w, lens, WIDTH, HEIGHT), 24.0)
    times = TIMES if moving else TIMES[:1]
    for time, color in zip(times, MOMENT_COLORS, strict=False):
        tree = folder / "scene/lyra_demo" / (str(time) if moving else ".")
        write_ply(tree / "gaussians_orig/gaussians_0.ply", ball(color))
        write_camera_file(tree / "scenes/0/cameras.json", contents)
        record = {"scene": "tiny", "clips": {name: {} for name in PATHS}}
        write_json(tree / "scenes/0/made_from.json", {"made_from": record, "files": []})
    return folder / "scene"
