"""Parity of the warps: reliability, lifting, splatting, foreground masking."""

from collections.abc import Callable

from torch import Tensor

from src.geometry.cameras import matrix_to_intrinsics
from src.geometry.occlusion import DOWNSAMPLING
from src.geometry.warping import (
    OCCLUSION_MARGIN,
    PointFrames,
    Warp,
    lift,
    reliable_mask,
    warp_frames,
)

from .fixture import Fixture


def sdg_warp(fixture: Fixture) -> dict[str, Tensor]:
    """Reliability masks at the stored thresholds, world points, and each case's warps."""
    depth, mask = fixture.inputs("depth")[:, 0], fixture.inputs("mask")[:, 0] > 0
    height, width = depth.shape[-2:]
    fixture.config.require(height=height, width=width)
    # The original warps so many frames at once.
    fixture.config.describes("chunk")
    intrinsics = matrix_to_intrinsics(fixture.inputs("K"))
    points = lift(depth, intrinsics, fixture.inputs("source_w2c"))
    outputs = {"points": points}
    for name in fixture.outputs():
        if name.startswith("reliable_"):
            threshold = float(name.removeprefix("reliable_"))
            outputs[name] = reliable_mask(depth, threshold)[:, None].float()
    for index, case in enumerate(fixture.config["cases"]):
        # Its cameras are inputs.
        case.describes("identity", "rotation", "translation", "changed_K")
        sources = PointFrames(points, fixture.inputs("image"), mask if case["use_mask"] else None)
        intrinsics = matrix_to_intrinsics(fixture.inputs(f"target_K_{index}"))
        warp = warp_frames(sources, intrinsics, fixture.inputs(f"target_w2c_{index}"))
        outputs |= _named(warp, index)
    return outputs


def sdg_foreground(fixture: Fixture) -> dict[str, Tensor]:
    """Each case's warps with foreground masking."""
    outputs = {}
    height, width = fixture.inputs("image").shape[-2:]
    fixture.config.require(
        height=height, width=width, mesh_downsample=DOWNSAMPLING, tolerance_z=OCCLUSION_MARGIN
    )
    fixture.config.describes("chunk")
    points, image = fixture.inputs("points"), fixture.inputs("image")
    boundary = fixture.inputs("boundary_mask")[:, 0] > 0
    intrinsics = matrix_to_intrinsics(fixture.inputs("K"))
    for index, case in enumerate(fixture.config["cases"]):
        # Facts about the original's mesh.
        case.describes("num_triangles", "removed_pixels")
        mask = fixture.inputs(case["mask"].removeprefix("inputs/"))[:, 0] > 0
        sources = PointFrames(points, image, mask, boundary)
        warp = warp_frames(sources, intrinsics, fixture.inputs(f"target_w2c_{index}"))
        outputs |= _named(warp, index)
    return outputs


def _named(warp: Warp, index: int) -> dict[str, Tensor]:
    """A warp under the names of case `index`."""
    return {
        f"image_{index}": warp.image,
        f"mask_{index}": warp.mask[:, None].float(),
        f"depth_{index}": warp.depth[:, None],
    }


KINDS: dict[str, Callable[[Fixture], dict[str, Tensor]]] = {
    "sdg_warp": sdg_warp,
    "sdg_foreground": sdg_foreground,
}
