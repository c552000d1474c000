"""Rasterising a picture: the pure-torch twin and, on a GPU, gsplat beside it."""

import resource
from functools import partial

import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.rendering.options import MODES, RasterizeOptions
from src.rendering.rasterize import Backend, choose_backend, rasterize, rasterize_scenes

from .row import Row, seconds

COUNT, SIGMA, BUDGET, MEMORY_BUDGET = 18_000, 4.0, 0.7, 1.4
WIDTH, HEIGHT, FOCAL = 320, 176, 230.0
# A training step of the small decoder: scenes, frames of each, Gaussians of each.
SCENES, FRAMES, SCENE_COUNT = 8, 8, 60_000


def scene(count: int, device: torch.device, seed: int = 0) -> tuple[Gaussians, Cameras]:
    """Gaussians of median sigma 4 px, spread over a picture of 320 x 176 pixels, and its camera."""
    generator = torch.Generator().manual_seed(seed)
    depth = 1 + 4 * torch.rand(count, 1, generator=generator)
    pixel = torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    slope = (pixel - torch.tensor([WIDTH / 2, HEIGHT / 2])) / FOCAL
    spread = torch.exp(0.4 * torch.randn(count, 3, generator=generator))
    gaussians = Gaussians(
        means=torch.cat([slope, torch.ones_like(depth)], dim=1) * depth,
        opacities=torch.rand(count, generator=generator) * 0.9 + 0.05,
        scales=SIGMA / FOCAL * depth * spread,
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        colors=torch.rand(count, 3, generator=generator),
    )
    intrinsics = torch.tensor([[FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]])
    cameras = Cameras(torch.eye(4)[None], intrinsics, WIDTH, HEIGHT)
    return gaussians.to(device), cameras.to(device)


def _forward(
    gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions, backend: Backend
) -> None:
    """Rendering alone."""
    with torch.no_grad():
        rasterize(gaussians, cameras, options, backend)


def _forward_backward(
    gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions, backend: Backend
) -> None:
    """One training step's share of the rasteriser."""
    leaves = gaussians.map(lambda tensor: tensor.detach().requires_grad_())
    rendered = rasterize(leaves, cameras, options, backend)
    (rendered.color.square().mean() + rendered.depth.mean()).backward()


def _one_by_one(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> None:
    """A training step's rendering, scene after scene."""
    leaves = gaussians.map(lambda tensor: tensor.detach().requires_grad_())
    scenes = [leaves.map(lambda part, i=i: part[i]) for i in range(SCENES)]
    parts = [rasterize(scene, cameras[i], options) for i, scene in enumerate(scenes)]
    torch.stack([part.color.square().mean() + part.depth.mean() for part in parts]).sum().backward()


def _together(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> None:
    """The same, with all scenes in a call."""
    leaves = gaussians.map(lambda tensor: tensor.detach().requires_grad_())
    rendered = rasterize_scenes(leaves, cameras, options)
    (SCENES * (rendered.color.square().mean() + rendered.depth.mean())).backward()


def _training_step(device: torch.device) -> list[Row]:
    """Forward and backward of a whole batch in both modes, together and one by one."""
    scenes = [scene(SCENE_COUNT, device, seed) for seed in range(SCENES)]
    gaussians = Gaussians.from_packed(torch.stack([each.packed() for each, _ in scenes]))
    cameras = Cameras.stack([Cameras.concatenate([own] * FRAMES) for _, own in scenes])
    rows = []
    for mode in MODES:
        options = RasterizeOptions(mode=mode)
        apart = seconds(partial(_one_by_one, gaussians, cameras, options))
        once = seconds(partial(_together, gaussians, cameras, options))
        name = f"{mode} {SCENES} scenes of {FRAMES} frames together, forward and backward"
        rows.append(Row(name, once, peer_name="one by one", peer=apart))
    return rows


def run(device: torch.device) -> list[Row]:
    """Seconds of a frame of 18,000 Gaussians at 176 x 320, forward alone and with its backward.

    On a CPU also the peak memory of the process. On a GPU gsplat and the twin are both timed.
    """
    gaussians, cameras = scene(COUNT, device)
    budget = BUDGET if device.type == "cpu" else None
    rows = []
    for mode in MODES:
        options = RasterizeOptions(mode=mode)
        for backend in sorted({choose_backend(device), "torch"}):
            inputs = (gaussians, cameras, options, backend)
            forward = seconds(partial(_forward, *inputs))
            both = seconds(partial(_forward_backward, *inputs))
            rows.append(Row(f"{mode} {backend} forward", forward, budget=budget))
            rows.append(Row(f"{mode} {backend} forward and backward", both))
    if device.type == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(Row("peak memory of the process", peak, "GiB", budget=MEMORY_BUDGET))
    elif choose_backend(device) == "cuda":
        rows += _training_step(device)
    return rows
