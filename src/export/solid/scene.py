"""A scene made solid: merged, fitted to its own renderings, measured at cameras left out."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...evaluation.metrics import psnr
from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...io.cameras.file import read_camera_file
from ...io.scene import SplatScene
from ...rendering.rasterize import rasterize
from ...runtime import InputError, default_device
from .eight_bit import render_eight_bit
from .fitting import OPTIONS, fit
from .merging import merge

EXPECTED = "a scene of sample.py with its cameras: solid Gaussians are fitted to renderings"
# Opacity of merged Gaussians, before they are fitted.
OPACITY = 0.5
# Smallest standard deviation of a Gaussian in pixels, seen from the first camera.
FINEST = 0.5
# Cameras of the figures, and at least how many cameras of the scene there are for each of them.
HELD_OUT, CAMERAS_EACH = 4, 4
# Share of the fitted cameras that are moved off the scene's paths, and how far: in standard
# deviations of all cameras' places.
MOVED, MOVE = 0.2, 0.3


@dataclass(frozen=True, kw_only=True)
class SolidConfig:
    """How a scene is made solid.

    Attributes:
        share: of the Gaussians that are left, in (0, 1].
        views: cameras whose renderings the Gaussians are fitted to.
        steps: of the optimiser, two cameras each.
        seed: chooses the moved cameras and their order.
    """

    share: float = 0.25
    views: int = 48
    steps: int = 85
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError("share of solid Gaussians", self.share, "a share in (0, 1]")
        if self.views < 1:
            raise InputError("views of solid Gaussians", self.views, "at least 1")
        if self.steps < 1:
            raise InputError("steps of solid Gaussians", self.steps, "at least 1")


@dataclass(frozen=True)
class SolidReport:
    """Counts, median opacities and PSNR in dB before and after, at cameras that were left out.

    PSNR is against the float rendering of the scene as it was: of the float rendering (3DGUT), and
    of an 8-bit viewer as `eight_bit.py` models it.
    """

    count: tuple[int, int]
    opacity: tuple[float, float]
    float_psnr: float
    eight_bit_psnr: tuple[float, float]

    def __str__(self) -> str:
        before, after = self.count
        return (
            f"{before:,} -> {after:,} Gaussians, median opacity {self.opacity[0]:.3f} ->"
            f" {self.opacity[1]:.3f}; at cameras left out: float {self.float_psnr:.1f} dB,"
            f" 8-bit {self.eight_bit_psnr[0]:.1f} -> {self.eight_bit_psnr[1]:.1f} dB"
        )


def solid_scene(scene: SplatScene, config: SolidConfig) -> tuple[SplatScene, list[SolidReport]]:
    """Returns the scene with each moment made solid, and a report for each.

    Raises `InputError` for a scene without cameras, or with one only.
    """
    if scene.results is None or not (scene.results / "cameras.json").is_file():
        raise InputError("--solid", "a scene without cameras", EXPECTED)
    cameras = read_camera_file(scene.results / "cameras.json").cameras
    device = default_device()
    parts = [solid(moment.to(device), cameras.to(device), config) for moment in scene.moments]
    moments = tuple(gaussians.to("cpu") for gaussians, _ in parts)
    return SplatScene(moments, scene.times, scene.results), [report for _, report in parts]


def solid(
    gaussians: Gaussians, cameras: Cameras, config: SolidConfig
) -> tuple[Gaussians, SolidReport]:
    """Returns one moment made solid, and its report."""
    fitted_to, held_out = choose_cameras(cameras, config)
    pictures = _pictures(gaussians, fitted_to)
    finest = FINEST / float(cameras.intrinsics[:, :2].mean())
    count = max(1, round(config.share * len(gaussians)))
    start = merge(gaussians, count, OPACITY, finest=finest)
    result = fit(start, fitted_to, pictures, steps=config.steps, seed=config.seed, finest=finest)
    true = _pictures(gaussians, held_out)
    eight_bit = [
        float(psnr(render_eight_bit(each, held_out), true).mean()) for each in (gaussians, result)
    ]
    report = SolidReport(
        count=(len(gaussians), len(result)),
        opacity=(float(gaussians.opacities.median()), float(result.opacities.median())),
        float_psnr=float(psnr(_pictures(result, held_out), true).mean()),
        eight_bit_psnr=(eight_bit[0], eight_bit[1]),
    )
    return result, report


def choose_cameras(cameras: Cameras, config: SolidConfig) -> tuple[Cameras, Cameras]:
    """Returns the cameras to fit to, some of them moved, and cameras of the scene left out.

    Raises `InputError` for a single camera.
    """
    count = len(cameras)
    if count < 2:
        raise InputError("--solid", f"{count} camera", "a scene of at least 2 cameras")
    out = _spread(count, min(HELD_OUT, max(1, count // CAMERAS_EACH)))
    rest = [index for index in range(count) if index not in out]
    moved = round(MOVED * config.views)
    kept = [rest[number] for number in _spread(len(rest), max(1, config.views - moved))]
    generator = torch.Generator().manual_seed(config.seed)
    turns = torch.randint(len(rest), (moved,), generator=generator)
    away = cameras[torch.tensor([*kept, *(rest[int(turn)] for turn in turns)])]
    place = cameras.c2w[:, :3, 3]
    step = MOVE * (place - place.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    noise = torch.randn(len(away), 3, generator=generator).to(place)
    noise[: len(kept)] = 0
    c2w = away.c2w.clone()
    c2w[:, :3, 3] += step * noise
    return Cameras(c2w, away.intrinsics, away.width, away.height), cameras[torch.tensor(out)]


def _spread(count: int, wanted: int) -> list[int]:
    """Returns the middles of `wanted` equal parts of `range(count)`; all, if there are fewer."""
    wanted = min(count, wanted)
    return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]


@torch.no_grad()
def _pictures(gaussians: Gaussians, cameras: Cameras) -> Float[Tensor, "frame 3 height width"]:
    return rasterize(gaussians, cameras, OPTIONS).color
