"""Rasterising a picture: the torch twin and, on a GPU, gsplat beside it; frames of a scene."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.models.data.example import Targets
from src.reconstruct.pictures import render_trajectories
from src.rendering.options import MODES, RasterizeOptions
from src.rendering.rasterize import Backend, choose_backend, rasterize, rasterize_scenes
from src.rendering.tiles import TILE

from .row import Row, peak_memory, seconds

COUNT, SIGMA, BUDGET, MEMORY_BUDGET = 18_000, 4.0, 0.7, 1.4
WIDTH, HEIGHT, FOCAL = 320, 176, 230.0
# A training step of the small decoder: scenes, frames of each, Gaussians of each.
SCENES, FRAMES, SCENE_COUNT = 8, 8, 60_000
# Of a full-size frame with depth.
FRAME_BUDGET = 6
# Deviations of a Gaussian along its three axes in pixels, medians of a scene of nano's static
# decoder at 256x448, and the deviation of their logarithms.
TRAINED_SIZES, TRAINED_SPREAD = (1.0, 2.25, 4.16), 0.8


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


def as_trained(gaussians: Gaussians, camera: Cameras) -> Gaussians:
    """Returns the Gaussians with the sizes in a camera's picture that trained weights give."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.exp(TRAINED_SPREAD * torch.randn(len(gaussians), 3, generator=generator))
    pixels = spread.to(gaussians.device) * gaussians.scales.new_tensor(TRAINED_SIZES)
    w2c, focal = camera.to(gaussians.device).w2c[0], float(camera.intrinsics[0, 0])
    depth = gaussians.means @ w2c[2, :3] + w2c[2, 3]
    return replace(gaussians, scales=pixels * depth.clamp(min=0.01)[:, None] / focal)


@torch.no_grad()
def frames(
    gaussians: Gaussians, targets: Targets, options: RasterizeOptions, sizes: str
) -> Iterator[Row]:
    """Yields the milliseconds of a frame of the first trajectory, as `sample.py` renders it.

    `sizes` names those of the Gaussians in the rows.

    On a GPU gsplat's `rasterization` is the peer: one call for colour, another one for depth.
    """
    chosen = (targets.trajectory == targets.trajectory[0]).nonzero()[:, 0]
    first = Targets(
        cameras=targets.cameras[chosen],
        trajectory=targets.trajectory[chosen],
        frame=targets.frame[chosen],
    )
    on_gpu = choose_backend(gaussians.device) == "cuda"
    for depth, shown in ((False, "colour"), (True, "colour and depth")):
        own = replace(options, depth=depth)
        taken = seconds(lambda own=own: list(render_trajectories(gaussians, first, own)), 3)
        peer = None
        if on_gpu:
            alone = seconds(partial(_gsplat_alone, gaussians, first.cameras, own), 3)
            peer = ("gsplat alone", 1e3 * alone / len(chosen))
        budget = FRAME_BUDGET if depth else None
        yield Row(
            f"a frame, {sizes}, {shown}", 1e3 * taken / len(chosen), "ms", peer=peer, budget=budget
        )
    if on_gpu:
        for row in _frame_steps(gaussians, first.cameras[:1], options):
            yield replace(row, name=f"a frame, {sizes}, {row.name}")


def _w2c_and_K(cameras: Cameras, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    exact = cameras.to(device).to(torch.float64)
    return exact.w2c.float(), exact.K.float()


def _gsplat_alone(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> None:
    """Renders with gsplat's own function, two frames a call; pictures stay on the GPU."""
    from gsplat import rasterization

    w2c, K = _w2c_and_K(cameras, gaussians.device)
    for view, intrinsics in zip(w2c.split(2), K.split(2), strict=True):
        z = (gaussians.means * view[:, None, 2, :3]).sum(-1) + view[:, None, 2, 3]
        for colors in [gaussians.colors, z[..., None].expand(-1, -1, 3)][: 1 + options.depth]:
            rasterization(
                means=gaussians.means,
                quats=gaussians.quats,
                scales=gaussians.scales,
                opacities=gaussians.opacities,
                colors=colors,
                viewmats=view,
                Ks=intrinsics,
                width=cameras.width,
                height=cameras.height,
                near_plane=options.near,
                far_plane=options.far,
                packed=False,
                with_ut=True,
                with_eval3d=True,
            )


def _frame_steps(gaussians: Gaussians, camera: Cameras, options: RasterizeOptions) -> Iterator[Row]:
    """Yields the milliseconds of the steps of one frame: projection, lists of tiles, blending."""
    from gsplat import (
        fully_fused_projection_with_ut,
        isect_offset_encode,
        isect_tiles,
        rasterize_to_pixels_eval3d,
    )

    w2c, K = _w2c_and_K(camera, gaussians.device)
    size = (camera.width, camera.height)
    geometry = (gaussians.means, gaussians.quats, gaussians.scales)
    rows, columns = -(-camera.height // TILE), -(-camera.width // TILE)
    project = partial(
        fully_fused_projection_with_ut,
        *(*geometry, gaussians.opacities, w2c, K, *size),
        near_plane=options.near,
        far_plane=options.far,
    )
    radii, center, z, *_ = project()

    def lists() -> tuple[torch.Tensor, torch.Tensor]:
        _, keys, ids = isect_tiles(center, radii, z, TILE, columns, rows)
        return ids, isect_offset_encode(keys, 1, columns, rows)

    ids, starts = lists()
    yield Row("pairs of splats and tiles", len(ids) / 1e6, "million")
    yield Row("projection", 1e3 * seconds(project), "ms")
    yield Row("lists", 1e3 * seconds(lists), "ms")
    colors, opacities = gaussians.colors[None], gaussians.opacities[None]
    blend = partial(
        rasterize_to_pixels_eval3d,
        *(*geometry, colors, opacities, w2c, K, *size, TILE, starts, ids),
    )
    yield Row("blending of three channels", 1e3 * seconds(blend), "ms")
