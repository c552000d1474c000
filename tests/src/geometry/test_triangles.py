"""The z-buffer of triangles against a ray test of every pixel with every triangle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.geometry import occlusion as module
from src.geometry.cameras import Cameras
from src.geometry.occlusion import expand, triangle_depth

HEIGHT, WIDTH = 16, 24


def brute_force(corners: Tensor, target: Tensor, intrinsics: Tensor) -> Tensor:
    """The ray test of Moeller and Trumbore, two-sided, in float64."""
    depth = torch.full((len(intrinsics), HEIGHT, WIDTH), torch.inf, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    for frame, (fx, fy, cx, cy) in enumerate(intrinsics.tolist()):
        ray = torch.stack(((x - cx) / fx, (y - cy) / fy, torch.ones(HEIGHT, WIDTH)), dim=-1)
        length = ray.norm(dim=-1, keepdim=True)
        ray = (ray / length).double()
        for a, b, c in corners[target == frame]:
            p = torch.linalg.cross(ray, (c - a).expand_as(ray))
            det = (p * (b - a)).sum(-1)
            u = -(p @ a) / det
            q = torch.linalg.cross(-a, b - a)
            v, t = (ray @ q) / det, (q @ (c - a)) / det
            hit = (det.abs() >= 1e-8) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-8)
            z = (t * ray[..., 2]).where(hit, torch.inf)
            depth[frame] = torch.minimum(depth[frame], z)
    return depth


@pytest.fixture
def intrinsics(random_cameras: Callable[..., Cameras]) -> Tensor:
    return random_cameras(3, width=WIDTH, height=HEIGHT, dtype=torch.float64).intrinsics


def scene(kind: str, count: int) -> Tensor:
    """Triangles before the camera, across its plane, behind it, touching it, or tiny ones."""
    centre = torch.randn(count, 1, 3, dtype=torch.float64)
    spread = torch.randn(count, 3, 3, dtype=torch.float64)
    forward = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    if kind == "before":
        return centre + 0.5 * spread + 6 * forward
    if kind == "across":
        return 0.5 * centre + 2 * spread
    if kind == "behind":
        return centre + 0.1 * spread - 6 * forward
    if kind == "touching":
        corners = centre + spread + 4 * forward
        corners[:, 0] = 0
        corners[1::2, 0] = 1e-7 * torch.randn(count // 2, 3, dtype=torch.float64)
        return corners
    corners = centre + 4 * forward
    return corners + 0.05 * spread


@pytest.mark.parametrize("kind", ["before", "across", "behind", "touching", "tiny"])
def test_depth_is_that_of_a_ray_test(kind: str, intrinsics: Tensor) -> None:
    """Catches spans, signs and row ranges that are wrong, above all across the camera's plane."""
    corners, target = scene(kind, 40), torch.randint(0, 3, (40,))
    expected = brute_force(corners, target, intrinsics)
    depth = triangle_depth(corners, target, intrinsics, (HEIGHT, WIDTH))
    assert torch.equal(depth.isfinite(), expected.isfinite())
    hit = expected.isfinite()
    torch.testing.assert_close(depth[hit], expected[hit], check_dtype=False, rtol=1e-5, atol=1e-6)
    assert hit.any() == (kind != "behind")


def test_a_triangle_belongs_to_its_target(intrinsics: Tensor) -> None:
    """Catches a depth that is written into another camera's frame."""
    corners = torch.tensor([[[-9.0, -9, 2], [9, -9, 2], [0, 18, 2]]], dtype=torch.float64)
    depth = triangle_depth(corners, torch.tensor([1]), intrinsics, (HEIGHT, WIDTH))
    assert depth[0].isinf().all() and depth[2].isinf().all()
    torch.testing.assert_close(depth[1], torch.full((HEIGHT, WIDTH), 2.0))


def test_edges_through_pixel_centres_do_not_open() -> None:
    """Catches a crack where two triangles share an edge that runs through pixels."""
    intrinsics = torch.tensor([[7.3, 7.3, 9.1, 6.7]], dtype=torch.float64)
    z = torch.tensor(3.7, dtype=torch.float64)
    x = (torch.tensor([2, 14], dtype=torch.float64) - 9.1) / 7.3 * z
    y = (torch.tensor([1, 13], dtype=torch.float64) - 6.7) / 7.3 * z
    tl, tr, bl, br = (torch.stack((x[i], y[j], z)) for j in (0, 1) for i in (0, 1))
    quad = torch.stack((torch.stack((tl, tr, bl)), torch.stack((tr, br, bl))))
    depth = triangle_depth(quad, torch.zeros(2, dtype=torch.long), intrinsics, (HEIGHT, WIDTH))
    assert depth[0, 1:14, 2:15].isfinite().all()
    assert depth.isfinite().sum() == 13 * 13


def test_lines_points_and_lost_corners_hit_nothing(intrinsics: Tensor) -> None:
    """Catches a division by zero, or NaN that becomes the nearest depth."""
    corner = torch.tensor([0.1, 0.2, 3.0], dtype=torch.float64)
    point, lost = corner.expand(3, 3), scene("before", 1)[0]
    line = corner * torch.tensor([[1.0], [2.0], [3.0]])
    for value in (torch.nan, torch.inf):
        broken = lost.clone()
        broken[1, 2] = value
        corners = torch.stack((point, line, broken))
        depth = triangle_depth(corners, torch.arange(3), intrinsics, (HEIGHT, WIDTH))
        assert depth.isinf().all()


def test_no_triangles(intrinsics: Tensor) -> None:
    """Catches reductions over an empty mesh."""
    corners, target = torch.zeros(0, 3, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.long)
    assert triangle_depth(corners, target, intrinsics, (HEIGHT, WIDTH)).isinf().all()


def test_small_steps_give_the_same(intrinsics: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches triangles or pixels that are lost or doubled where the work is cut."""
    corners, target = scene("across", 50), torch.randint(0, 3, (50,))
    whole = triangle_depth(corners, target, intrinsics, (HEIGHT, WIDTH))
    monkeypatch.setattr(module, "ROWS_PER_STEP", 37)
    monkeypatch.setattr(module, "PIXELS_PER_STEP", 101)
    assert torch.equal(triangle_depth(corners, target, intrinsics, (HEIGHT, WIDTH)), whole)


@pytest.mark.parametrize("budget", [1, 5, 6, 1000])
def test_expansion_repeats_each_item(budget: int) -> None:
    """Catches cuts at the wrong item, and repetitions that don't start at 0."""
    counts = torch.tensor([0, 3, 0, 0, 7, 1, 6, 0])
    pieces = list(expand(counts, budget))
    owner = torch.cat([piece[0] for piece in pieces])
    step = torch.cat([piece[1] for piece in pieces])
    assert owner.tolist() == torch.repeat_interleave(counts).tolist()
    assert step.tolist() == [i for count in counts.tolist() for i in range(count)]
    assert max(len(piece[0]) for piece in pieces) <= budget + 7
