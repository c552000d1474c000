"""Rendering whose memory is that of one frame: the backward pass renders every frame again."""

from typing import Any

import torch
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras
from .options import DEFAULTS, RasterizeOptions
from .rasterize import Backend, rasterize
from .render import Render


def rasterize_deferred(
    gaussians: Gaussians,
    cameras: Cameras,
    options: RasterizeOptions = DEFAULTS,
    backend: Backend = "auto",
) -> Render:
    """The same pictures and gradients as `rasterize`, one frame after the other.

    Costs one more forward rendering of each frame, keeps no intermediate results.
    """
    exact = gaussians.to(torch.float32)
    parameters = (exact.means, exact.opacities, exact.scales, exact.quats, exact.colors)
    return Render(*_Deferred.apply(cameras, options, backend, *parameters))


class _Deferred(torch.autograd.Function):
    """Frame by frame without a graph, then frame by frame with one."""

    @staticmethod
    def forward(
        ctx: Any, cameras: Cameras, options: RasterizeOptions, backend: Backend, *parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, alpha and depth of all frames."""
        ctx.save_for_backward(*parameters)
        ctx.cameras, ctx.options, ctx.backend = cameras, options, backend
        gaussians = Gaussians(*(tensor.detach() for tensor in parameters))
        frames = [
            rasterize(gaussians, cameras[index : index + 1], options, backend)
            for index in range(len(cameras))
        ]
        pictures = Render.concatenate(frames)
        return pictures.color, pictures.alpha, pictures.depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the Gaussians' parameters, where they are needed."""
        needed = ctx.needs_input_grad[3:]
        leaves = [
            tensor.detach().requires_grad_(need)
            for tensor, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        # All frames share the leaves, in which their gradients add up.
        for index in range(len(ctx.cameras)):
            camera = ctx.cameras[index : index + 1]
            with torch.enable_grad():
                frame = rasterize(Gaussians(*leaves), camera, ctx.options, ctx.backend)
            pictures = (frame.color, frame.alpha, frame.depth)
            # A depth that was not asked for depends on nothing.
            wanted = [number for number in range(3) if pictures[number].requires_grad]
            torch.autograd.backward(
                [pictures[number] for number in wanted],
                [upstream[number][index : index + 1] for number in wanted],
            )
        return None, None, None, *(leaf.grad for leaf in leaves)
