"""Tests of rays and Pluecker coordinates, in float32 and in the published bfloat16 order."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from src.geometry.cameras import Cameras
from src.geometry.rays import (
    Precision,
    camera_rays,
    coarse_rays,
    parity_centres,
    pluecker,
    unproject,
)

PRECISIONS: tuple[Precision, ...] = ("fp32", "parity")


def test_rays_pass_through_the_unprojected_pixels(random_cameras: Callable[..., Cameras]) -> None:
    """Catches directions of other pixels, or origins that are not the camera centre."""
    cameras = random_cameras(2, 3)
    origins, directions = camera_rays(cameras)
    torch.testing.assert_close(origins[..., 5, 7], cameras.c2w[..., :3, 3])
    depth = torch.full((2, 3, cameras.height, cameras.width), 3.0)
    points = unproject(depth, cameras.intrinsics, cameras.c2w).movedim(-1, -3)
    expected = torch.nn.functional.normalize(points - origins, dim=-3)
    torch.testing.assert_close(directions, expected, rtol=1e-5, atol=1e-6)


def test_pluecker_is_moment_then_unit_direction(random_cameras: Callable[..., Cameras]) -> None:
    """Catches swapped halves, d x o for o x d, and directions that are not normalised."""
    cameras = random_cameras(3)
    moment, direction = pluecker(cameras).split(3, dim=-3)
    torch.testing.assert_close(direction.norm(dim=-3), torch.ones_like(direction[:, 0]))
    assert (moment * direction).sum(-3).abs().max() < 1e-5
    # Any point of the ray has the same moment; one far along it decides the sign.
    origins, _ = camera_rays(cameras)
    torch.testing.assert_close(
        moment, torch.linalg.cross(origins + 2 * direction, direction, dim=-3), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_reference_camera_has_no_moment(
    random_cameras: Callable[..., Cameras], precision: Precision
) -> None:
    """Catches moments about another point than the origin."""
    cameras = random_cameras(2)
    centred = cameras.relative_to(cameras.c2w[0])
    c2w = centred.c2w.clone()
    c2w[0] = torch.eye(4)
    moment = pluecker(Cameras(c2w, centred.intrinsics, 24, 16), precision)[:, :3]
    assert (moment[0] == 0).all()
    assert (moment[1] != 0).any()


def test_a_coarse_ray_goes_through_the_middle_of_its_cell(
    random_cameras: Callable[..., Cameras],
) -> None:
    """Catches coarse centres at +0.5 of a full-size pixel, or an undivided principal point."""
    cameras = random_cameras(2, width=12, height=9)
    origins, directions = coarse_rays(cameras, factor=3)
    assert directions.shape == (2, 3, 3, 4)
    # With an odd factor the middle of a cell is the centre of its middle pixel.
    full_origins, full = camera_rays(cameras)
    torch.testing.assert_close(directions, full[..., 1::3, 1::3], rtol=1e-5, atol=1e-6)
    assert torch.equal(origins, full_origins[..., 1::3, 1::3])
    with pytest.raises(AssertionError, match="12x9"):
        coarse_rays(cameras, factor=8)


def test_float32_rays_are_as_exact_as_float64_ones_inside_autocast(
    random_cameras: Callable[..., Cameras],
) -> None:
    """Catches lower precision inside autocast, and float64 cameras that come back as float64."""
    cameras = random_cameras(2, dtype=torch.float64)
    exact = pluecker(cameras)
    assert exact.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        single = pluecker(cameras.to(torch.float32))
    torch.testing.assert_close(single, exact, rtol=0, atol=2e-6)
    with pytest.raises(AssertionError, match="float32 or better"):
        camera_rays(cameras.to(torch.bfloat16))


def _native_bfloat16(cameras: Cameras) -> Tensor:
    """The published order in bfloat16 tensors; its grid is exact below 128 pixels."""
    c2w, intrinsics = cameras.c2w.bfloat16(), cameras.intrinsics.bfloat16()
    fx, fy, cx, cy = intrinsics[:, :, None, None].unbind(1)
    x = (torch.arange(cameras.width).bfloat16() + 0.5 - cx) / fx
    y = (torch.arange(cameras.height).bfloat16()[:, None] + 0.5 - cy) / fy
    x, y = torch.broadcast_tensors(x, y)
    local = torch.stack((x, y, torch.ones_like(x)), dim=1)
    local = local / torch.linalg.vector_norm(local, dim=1, keepdim=True)
    # Products are exact in float32, the sum is rounded once.
    world = torch.einsum("nij,njhw->nihw", c2w[:, :3, :3].float(), local.float()).bfloat16()
    centre = c2w[:, :3, 3, None, None].expand_as(world)
    return torch.cat((torch.linalg.cross(centre, world, dim=1), world), dim=1)


def test_parity_rounds_every_operation_to_bfloat16(random_cameras: Callable[..., Cameras]) -> None:
    """Catches a rounding step that is missing, added or fused with its neighbour."""
    cameras = random_cameras(6, width=120, height=40)
    ours = pluecker(cameras, "parity")
    assert ours.dtype == torch.bfloat16
    # Only ties in the float32 sums of three terms may fall to either side.
    same = (ours == _native_bfloat16(cameras)).float().mean()
    assert same > 0.9999, same


def test_parity_intrinsics_are_rounded_before_their_division(
    random_cameras: Callable[..., Cameras],
) -> None:
    """Catches one rounding for two; only a factor that is no power of two tells them apart."""
    cameras = random_cameras(30, width=27, height=18)
    rounded = Cameras(cameras.c2w, cameras.intrinsics.bfloat16().float(), 27, 18)
    _, ours = coarse_rays(cameras, 3, "parity")
    _, expected = coarse_rays(rounded, 3, "parity")
    assert torch.equal(ours, expected)


@pytest.mark.parametrize(
    ("size", "distinct", "largest", "mean"),
    [(88, 88, 0, 0.0), (160, 145, 0.5, None), (704, 369, 2.5, 0.18), (1280, 481, 4.5, None)],
)
def test_parity_centres_have_the_known_errors(
    size: int, distinct: int, largest: float, mean: float | None
) -> None:
    """Catches the grid of the CPU, which is another one, or a step of it left out."""
    centres = parity_centres(size, "cpu")
    error = centres - (torch.arange(size) + 0.5)
    assert len(centres.unique()) == distinct
    assert error.abs().max() == largest
    if mean is not None:
        assert error.mean().item() == pytest.approx(mean, abs=0.005)


@pytest.mark.parametrize("name", ["recon_rays_fp32", "recon_rays_bf16"])
def test_rays_match_the_original(shared: Path, name: str) -> None:
    """Catches any difference from the published rays; the bfloat16 ones agree to the bit."""
    folder = shared / "fixtures" / name
    config = json.loads((folder / "fixture.json").read_text())["config"]
    tensors = load_file(folder / "tensors.safetensors")
    height, width = config["img_size"]
    poses, intrinsics = tensors["inputs/c2ws_input"], tensors["inputs/intrinsics_input"]
    cameras = Cameras(poses, intrinsics, width, height)
    precision: Precision = "parity" if name.endswith("bf16") else "fp32"
    origins, directions = coarse_rays(cameras, 8, precision)
    tolerance = 0 if precision == "parity" else 1e-6
    for output, ours in (
        ("plucker_embedding", pluecker(cameras, precision)),
        ("rays_os", origins),
        ("rays_ds", directions),
    ):
        reference = tensors[f"outputs/{output}"]
        torch.testing.assert_close(ours.float(), reference, rtol=0, atol=tolerance)


@pytest.mark.gpu
def test_parity_centres_are_those_of_the_gpu() -> None:
    """Catches a grid that is not the one the published code gets from its GPU."""
    for size in (1, 2, 7, 88, 160, 321, 704, 1280, 1281):
        native = torch.linspace(0, size - 1, size, dtype=torch.bfloat16, device="cuda") + 0.5
        assert torch.equal(parity_centres(size, "cuda"), native.float()), size


@pytest.mark.gpu
def test_gpu_and_cpu_agree(random_cameras: Callable[..., Cameras]) -> None:
    """Catches contractions and TF32 on the GPU: parity agrees to the bit, float32 to rounding."""
    cameras = random_cameras(4, width=320, height=176)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.autocast("cuda", torch.bfloat16):
            parity = pluecker(cameras.to("cuda"), "parity").cpu()
            single = pluecker(cameras.to("cuda")).cpu()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert torch.equal(parity, pluecker(cameras, "parity"))
    torch.testing.assert_close(single, pluecker(cameras), rtol=0, atol=2e-6)
