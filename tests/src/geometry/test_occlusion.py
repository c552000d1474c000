"""The boundary mesh: which quads exist and where they lie."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from src.geometry.cameras import matrix_to_intrinsics
from src.geometry.occlusion import BoundaryMesh, any_corner, boundary_mesh

INTRINSICS = torch.tensor([20.0, 20.0, 15.5, 11.5])


def wall(height: int, width: int, z: Tensor | float) -> Tensor:
    """World points of a depth map seen by a camera at the origin."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    fx, fy, cx, cy = INTRINSICS.tolist()
    ray = torch.stack(((x - cx) / fx, (y - cy) / fy, torch.ones(height, width)), dim=-1)
    return (ray * torch.as_tensor(z, dtype=torch.float32)[..., None])[None]


def mesh_depth(mesh: BoundaryMesh, height: int, width: int) -> Tensor:
    """Depth of the mesh of the only source for a camera at the origin."""
    source, pose = torch.zeros(1, dtype=torch.long), torch.eye(4)[None]
    return mesh.depth(source, INTRINSICS[None], pose, (height, width))[0]


def test_a_wall_lies_where_its_points_are() -> None:
    """Catches a mesh grid that is shifted: vertices are the middles of 4 x 4 pixels."""
    depth = mesh_depth(boundary_mesh(wall(24, 32, 2.5), torch.ones(1, 24, 32).bool()), 24, 32)
    inside = depth[2:22, 2:30]
    torch.testing.assert_close(inside, torch.full_like(inside, 2.5))
    assert depth[:2].isinf().all() and depth[22:].isinf().all()
    assert depth[:, :2].isinf().all() and depth[:, 30:].isinf().all()


def test_only_quads_with_a_boundary_corner_exist() -> None:
    """Catches all-corner or single-corner rules; the mask is read at every fourth pixel."""
    boundary = torch.zeros(1, 24, 32, dtype=torch.bool)
    boundary[0, 8, 12] = True
    quads = boundary_mesh(wall(24, 32, 2.0), boundary).quads
    assert quads.shape == (1, 5, 7)
    assert quads[0].nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    between = boundary.roll((1, 1), dims=(1, 2))
    assert not boundary_mesh(wall(24, 32, 2.0), between).quads.any()


def test_any_corner_is_that_of_a_loop() -> None:
    """Catches a corner that is compared twice in the place of another."""
    vertices = torch.rand(2, 6, 5) > 0.8
    for frame, row, column in torch.ones(2, 5, 4).nonzero().tolist():
        expected = vertices[frame, row : row + 2, column : column + 2].any()
        assert any_corner(vertices)[frame, row, column] == expected


def test_no_boundary_hits_nothing() -> None:
    """Catches an empty mesh that fails or hides something."""
    mesh = boundary_mesh(wall(24, 32, 2.0), torch.zeros(1, 24, 32, dtype=torch.bool))
    assert mesh_depth(mesh, 24, 32).isinf().all()


@pytest.mark.parametrize("size", [(3, 3), (4, 9), (11, 7)])
def test_odd_and_tiny_frames(size: tuple[int, int]) -> None:
    """Catches frames smaller than two vertices, and sizes that 4 does not divide."""
    height, width = size
    mesh = boundary_mesh(wall(height, width, 2.0), torch.ones(1, height, width).bool())
    assert mesh.vertices.shape[1:3] == (max(height // 4, 1), max(width // 4, 1))
    hit = mesh_depth(mesh, height, width)
    assert (hit.isinf() | torch.isclose(hit, torch.tensor(2.0))).all()


@pytest.mark.parametrize("drop_invalid", [False, True])
def test_pixels_without_depth(drop_invalid: bool) -> None:
    """Catches spikes towards the world's origin where they are to be left out, and only there."""
    depth = torch.full((24, 32), 2.0)
    depth[9:11, 13:15] = 0
    depth[20, 28] = 0
    mesh = boundary_mesh(
        wall(24, 32, depth), torch.ones(1, 24, 32).bool(), drop_invalid=drop_invalid
    )
    # One vertex averages the 2 x 2 pixels (9..10, 13..14); pixel (20, 28) is in no vertex.
    assert mesh.quads.sum() == 35 - 4 * drop_invalid
    assert (mesh.vertices[0, 2, 3] == 0).all()
    # Moved aside, so that the spikes are seen from the side.
    pose = torch.eye(4)[None]
    pose[0, 0, 3] = 0.4
    source = torch.zeros(1, dtype=torch.long)
    hit = mesh.depth(source, INTRINSICS[None], pose, (24, 32))
    assert bool((hit < 1.9).any()) == (not drop_invalid)


def test_each_target_sees_the_mesh_of_its_source() -> None:
    """Catches a mesh that is looked up by target instead of by source."""
    points = torch.cat([wall(24, 32, 2.0), wall(24, 32, 3.0)])
    boundary = torch.ones(2, 24, 32, dtype=torch.bool)
    boundary[1, :, 16:] = False
    mesh = boundary_mesh(points, boundary)
    source, poses = torch.tensor([1, 0, 1]), torch.eye(4).repeat(3, 1, 1)
    depth = mesh.depth(source, INTRINSICS.repeat(3, 1), poses, (24, 32))
    torch.testing.assert_close(depth[:, 12, 8], torch.tensor([3.0, 2.0, 3.0]))
    assert depth[:, 12, 26].isfinite().tolist() == [False, True, False]


@pytest.mark.parametrize("case", [0, 1, 2])
def test_mesh_depth_of_the_original(shared: Path, case: int) -> None:
    """Catches another diagonal, or pixels without depth that don't become corners at the origin."""
    data = load_file(shared / "fixtures/sdg_foreground/tensors.safetensors")
    mesh = boundary_mesh(data["inputs/points"], data["inputs/boundary_mask"][:, 0] > 0)
    intrinsics, w2c = matrix_to_intrinsics(data["inputs/K"]), data[f"inputs/target_w2c_{case}"]
    depth = mesh.depth(torch.arange(2), intrinsics, w2c, (64, 96))
    expected = data[f"aux/mesh_depth_{case}"][:, 0]
    assert torch.equal(depth.isfinite(), expected > 0)
    torch.testing.assert_close(depth.where(depth.isfinite(), 0), expected, rtol=1e-4, atol=1e-5)
