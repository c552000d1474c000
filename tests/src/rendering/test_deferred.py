"""Deferred rendering against plain rendering, and what it keeps in memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.rendering.options import MODES, Mode, RasterizeOptions, Render
from src.rendering.rasterize import rasterize, rasterize_deferred

MakeScene = Callable[..., tuple[Gaussians, Cameras]]
Rasterize = Callable[..., Render]


def gradients(function: Rasterize, scene: tuple[Gaussians, Cameras], mode: Mode) -> list[Tensor]:
    gaussians, cameras = scene
    leaves = gaussians.map(lambda tensor: tensor.detach().requires_grad_())
    rendered = function(leaves, cameras, RasterizeOptions(mode=mode))
    generator = torch.Generator().manual_seed(7)
    loss = torch.zeros(())
    for picture in (rendered.color, rendered.alpha, rendered.depth):
        loss = loss + (picture * torch.randn(picture.shape, generator=generator)).sum()
    loss.backward()
    parts = (leaves.means, leaves.opacities, leaves.scales, leaves.quats, leaves.colors)
    return [rendered.color, rendered.alpha, rendered.depth, *(part.grad for part in parts)]


@pytest.mark.parametrize("mode", MODES)
def test_pictures_and_gradients_are_those_of_direct_rendering(
    mode: Mode, make_scene: MakeScene
) -> None:
    """Would catch an upstream gradient of the wrong frame or picture, or one that is lost."""
    scene = make_scene(100, frames=4)
    for ours, direct in zip(
        gradients(rasterize_deferred, scene, mode), gradients(rasterize, scene, mode), strict=True
    ):
        # Frames rendered together are cut into other blocks: rounding, amplified by the depth's
        # division by faint alphas, differs.
        assert (ours - direct).norm() <= 1e-5 * direct.norm()


def test_only_the_gaussians_are_kept(make_scene: MakeScene) -> None:
    """Would catch a graph that grows with the number of frames."""
    saved = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    for frames in (1, 6):
        saved.append(-1)
        gaussians, cameras = make_scene(100, frames=frames)
        leaves = gaussians.map(lambda tensor: tensor.requires_grad_())
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            rasterize_deferred(leaves, cameras)
    assert saved == 2 * [-1, 300, 100, 300, 400, 300]


def test_parts_without_gradient_stay_without(make_scene: MakeScene) -> None:
    """Would catch gradients that are invented for frozen parameters or lost for the others."""
    gaussians, cameras = make_scene(50)
    gaussians.colors.requires_grad_()
    rendered = rasterize_deferred(gaussians, cameras, RasterizeOptions(depth=False))
    assert (rendered.depth == 0).all()
    rendered.color.sum().backward()
    assert gaussians.colors.grad is not None and gaussians.means.grad is None
