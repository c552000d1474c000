"""Rasterising a picture: the torch twin and, on a GPU, gsplat beside it."""

from collections.abc import Iterator
from functools import partial

import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.rendering.options import MODES, RasterizeOptions
from src.rendering.rasterize import Backend, choose_backend, rasterize, rasterize_scenes

from .row import Row, peak_memory, seconds

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


def _leaves(gaussians: Gaussians) -> Gaussians:
    return gaussians.map(lambda tensor: tensor.detach().requires_grad_())


def _forward_backward(
    gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions, backend: Backend
) -> None:
    """Renders a picture and computes its gradients."""
    rendered = rasterize(_leaves(gaussians), cameras, options, backend)
    (rendered.color.square().mean() + rendered.depth.mean()).backward()


def _one_by_one(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> None:
    """Renders scene after scene, with gradients."""
    leaves = _leaves(gaussians)
    scenes = [leaves.map(lambda part, i=i: part[i]) for i in range(SCENES)]
    parts = [rasterize(scene, cameras[i], options) for i, scene in enumerate(scenes)]
    torch.stack([part.color.square().mean() + part.depth.mean() for part in parts]).sum().backward()


def _together(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> None:
    """Renders all scenes in one call, with gradients."""
    rendered = rasterize_scenes(_leaves(gaussians), cameras, options)
    (SCENES * (rendered.color.square().mean() + rendered.depth.mean())).backward()


def run(device: torch.device) -> Iterator[Row]:
    """Yields the time of a frame of 18,000 Gaussians at 176 x 320, forward and with its backward.

    On a CPU also the peak memory of the process. On a GPU gsplat and the twin are both timed, and
    a whole batch of scenes, rendered together and one by one.
    """
    on_cpu = device.type == "cpu"
    gaussians, cameras = scene(COUNT, device)
    backends: list[Backend] = sorted({choose_backend(device), "torch"})
    for mode in MODES:
        options = RasterizeOptions(mode=mode)
        for backend in backends:
            with torch.no_grad():
                forward = seconds(partial(rasterize, gaussians, cameras, options, backend))
            both = seconds(partial(_forward_backward, gaussians, cameras, options, backend))
            yield Row(f"{mode} {backend} forward", forward, budget=BUDGET if on_cpu else None)
            yield Row(f"{mode} {backend} forward and backward", both)
    if on_cpu:
        yield peak_memory("peak memory of the process", device, MEMORY_BUDGET)
    elif choose_backend(device) == "cuda":
        yield from _training_step(device)


def _training_step(device: torch.device) -> Iterator[Row]:
    scenes = [scene(SCENE_COUNT, device, seed) for seed in range(SCENES)]
    gaussians = Gaussians.from_packed(torch.stack([each.packed() for each, _ in scenes]))
    cameras = Cameras.stack([Cameras.concatenate([own] * FRAMES) for _, own in scenes])
    for mode in MODES:
        options = RasterizeOptions(mode=mode)
        apart = seconds(partial(_one_by_one, gaussians, cameras, options))
        once = seconds(partial(_together, gaussians, cameras, options))
        name = f"{mode} {SCENES} scenes of {FRAMES} frames together, forward and backward"
        yield Row(name, once, peer=("one by one", apart))
