"""A coarse mesh over the depth edges of frames, which hides the background behind them.

Warped points leave gaps through which the background would show; the mesh spans them. Its depth is
a z-buffer of triangles, sampled at pixel centres, which lie at INTEGER coordinates.

Notation: corners a, b, c in camera axes, normal n = (b - a) x (c - a), ray d = K^-1 (x, y, 1). The
plane lies at depth `a.n / d.n`; the barycentric coordinates there are `d.g / d.n`, g fixed vectors.
All are linear in x and y, so a triangle covers an interval of each row, even if it crosses the
camera's plane (homogeneous rasterization, Olano and Greer 1997).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .rays import plane_coordinates

# The published mesh has one vertex for 4 x 4 pixels.
DOWNSAMPLING = 4
# The two triangles of a quad whose corners are numbered row by row.
HALVES = ((0, 1, 2), (1, 3, 2))
# Rays parallel to the plane within this, and nearer hits, are misses, as in the published ray test
# (Moeller and Trumbore 1997).
EPSILON = 1e-8
# Nearer corners make a triangle's extent on the screen unreliable.
NEAR = 1e-6
# Pixels by which edges move outwards: rounding must not open edges through pixel centres.
EDGE_TOLERANCE = 1e-6
# Bound the working memory to a few 100 MB each.
ROWS_PER_STEP = 2**19
PIXELS_PER_STEP = 2**22


@dataclass(frozen=True)
class BoundaryMesh:
    """A grid of world points for each source frame, and a mask of the quads that exist."""

    vertices: Float[Tensor, "source rows columns 3"]
    quads: Bool[Tensor, "source rows-1 columns-1"]

    def depth(
        self,
        source: Int[Tensor, " target"],
        intrinsics: Float[Tensor, "target 4"],
        w2c: Float[Tensor, "target 4 4"],
        size: tuple[int, int],
    ) -> Float[Tensor, "target h w"]:
        """Depth of mesh `source[i]` in target `i` of `size` (height, width); inf where none is."""
        target, row, column = self.quads[source].nonzero(as_tuple=True)
        frame = source[target]
        corners = [self.vertices[frame, row + y, column + x] for y in (0, 1) for x in (0, 1)]
        pose = w2c.double()[target]
        quads = torch.stack(corners, dim=1).double() @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
        triangles = quads[:, HALVES].flatten(0, 1)
        owner = target.repeat_interleave(len(HALVES))
        return triangle_depth(triangles, target=owner, intrinsics=intrinsics.double(), size=size)


def boundary_mesh(
    points: Float[Tensor, "source h w 3"],
    boundary: Bool[Tensor, "source h w"],
    *,
    drop_invalid: bool = False,
) -> BoundaryMesh:
    """The mesh of quads that have a corner in `boundary`, at a quarter of the resolution.

    `drop_invalid` leaves out quads that touch the world's origin, the point of unknown depth.
    """
    height, width = points.shape[1:3]
    size = (max(height // DOWNSAMPLING, 1), max(width // DOWNSAMPLING, 1))
    vertices = F.interpolate(points.movedim(-1, 1), size, mode="bilinear", align_corners=False)
    chosen = any_corner(F.interpolate(boundary[:, None].float(), size, mode="nearest")[:, 0] > 0)
    if drop_invalid:
        invalid = (points == 0).all(dim=-1)[:, None].float()
        weight = F.interpolate(invalid, size, mode="bilinear", align_corners=False)[:, 0]
        chosen = chosen & ~any_corner(weight > 0)
    return BoundaryMesh(vertices.movedim(1, -1), chosen)


def any_corner(
    vertices: Bool[Tensor, "source rows columns"],
) -> Bool[Tensor, "source rows-1 columns-1"]:
    """A mask of the quads of a grid that have a corner set."""
    upper, lower = vertices[:, :-1], vertices[:, 1:]
    return upper[..., :-1] | upper[..., 1:] | lower[..., :-1] | lower[..., 1:]


@dataclass(frozen=True)
class ScreenTriangles:
    """Triangles as functions `(p, q, r) . (x, y, 1)` of pixel positions, positive inside.

    Float64, because the functions are small differences of large products.
    """

    edges: Float[Tensor, "n 3 3"]  # d.g of the three barycentric coordinates
    plane: Float[Tensor, "n 3"]  # d.n
    volume: Float[Tensor, " n"]  # a.n
    target: Int[Tensor, " n"]
    rows: tuple[Int[Tensor, " n"], Int[Tensor, " n"]]  # first and last that may show it
    columns: tuple[Int[Tensor, " n"], Int[Tensor, " n"]]


@dataclass(frozen=True)
class Spans:
    """Runs of pixels in one row that a triangle covers."""

    first: Int[Tensor, " n"]  # index over the pixels of all targets
    plane: Float[Tensor, " n"]  # d.n at the first pixel
    slope: Float[Tensor, " n"]  # and its increment from pixel to pixel
    volume: Float[Tensor, " n"]


@torch.no_grad()
def triangle_depth(
    corners: Float[Tensor, "n 3 3"],
    target: Int[Tensor, " n"],
    intrinsics: Float[Tensor, "target 4"],
    size: tuple[int, int],
) -> Float[Tensor, "target h w"]:
    """Depth of the nearest triangle in each pixel of each target, inf where there is none.

    Triangle `i` has corners in the axes of camera `target[i]`, the only one that sees it, from
    either side. Arguments are float64, the result is float32; `size` is (height, width).
    """
    x, y = plane_coordinates(intrinsics, size[0], size[1], pixel_offset=0.0)
    ray_length = (x.square()[:, None, :] + y.square()[:, :, None] + 1).sqrt()
    shape, ray_length = ray_length.shape, ray_length.flatten()
    depth = torch.full_like(ray_length, torch.inf, dtype=torch.float32)
    screen = _screen_triangles(corners, intrinsics[target], target, size=size)
    first, last = screen.rows
    # Triangles without volume are seen as lines; a corner that is not finite leaves no volume.
    seen_as_area = (screen.volume > 0) & screen.volume.isfinite()
    shown = (corners[..., 2].amax(dim=1) > 0) & seen_as_area
    for owner, row in expand((last - first + 1).clamp_min(0) * shown, ROWS_PER_STEP):
        spans, pixels = _spans(screen, owner=owner, row=row, size=size)
        for span, step in expand(pixels, PIXELS_PER_STEP):
            index = spans.first[span] + step
            plane, length = spans.plane[span] + step * spans.slope[span], ray_length[index]
            z = spans.volume[span] / plane
            hit = (plane > EPSILON * length) & (z * length > EPSILON)
            depth.scatter_reduce_(0, index, z.where(hit, torch.inf).float(), "amin")
    return depth.view(shape)


def expand(
    counts: Int[Tensor, " n"], budget: int
) -> Iterator[tuple[Int[Tensor, " m"], Int[Tensor, " m"]]]:
    """Item `i` repeated `counts[i]` times, with the number of each repetition, in pieces.

    A piece has at most `budget` entries plus the largest count.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    marks = torch.arange(budget, max(total, budget), budget, device=counts.device)
    cuts = [0, *torch.searchsorted(ends, marks, right=True).tolist(), len(counts)]
    for start, stop in pairwise(cuts):
        if start == stop:
            continue
        part = counts[start:stop]
        owner = torch.repeat_interleave(part)
        first = ends[start:stop] - part - (ends[start] - part[0])
        yield owner + start, torch.arange(len(owner), device=counts.device) - first[owner]


def _extent(
    corners: Float[Tensor, "n 3 3"], intrinsics: Float[Tensor, "n 4"], axis: int, size: int
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The first and last of `size` pixels along an axis (0 x, 1 y) between a triangle's corners.

    All pixels for a triangle that reaches behind the camera.
    """
    z = corners[..., 2]
    pixel = intrinsics[:, axis, None] * corners[..., axis] / z + intrinsics[:, axis + 2, None]
    before = z.amin(dim=1) > NEAR
    first = (pixel.amin(dim=1) - EDGE_TOLERANCE).ceil().where(before, 0)
    last = (pixel.amax(dim=1) + EDGE_TOLERANCE).floor().where(before, size)
    return first.clamp(0, size).long(), last.clamp(-1, size - 1).long()


def _screen_triangles(
    corners: Float[Tensor, "n 3 3"],
    intrinsics: Float[Tensor, "n 4"],
    target: Int[Tensor, " n"],
    size: tuple[int, int],
) -> ScreenTriangles:
    """The functions and extents of triangles given in camera axes."""
    a, b, c = corners.unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)
    volume = (a * normal).sum(dim=-1)
    second, third = torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    vectors = torch.stack((normal - second - third, second, third, normal), dim=1)
    # d.n has the sign of a.n in front of the camera, and so have all coordinates inside.
    gx, gy, gz = (vectors * volume.sign()[:, None, None]).unbind(dim=-1)
    fx, fy, cx, cy = intrinsics[..., None].unbind(dim=1)
    p, q = gx / fx, gy / fy
    functions = torch.stack((p, q, gz - cx * p - cy * q), dim=-1)
    return ScreenTriangles(
        edges=functions[:, :3],
        plane=functions[:, 3],
        volume=volume.abs(),
        target=target,
        rows=_extent(corners, intrinsics, axis=1, size=size[0]),
        columns=_extent(corners, intrinsics, axis=0, size=size[1]),
    )


def _spans(
    screen: ScreenTriangles, owner: Int[Tensor, " m"], row: Int[Tensor, " m"], size: tuple[int, int]
) -> tuple[Spans, Int[Tensor, " m"]]:
    """The run of pixels of triangle `owner` in its `row`-th row, and the run's length."""
    height, width = size
    y = screen.rows[0][owner] + row
    p, q, r = screen.edges[owner].unbind(dim=-1)
    rest = q * y[:, None] + r + EDGE_TOLERANCE * (p.abs() + q.abs())
    # p x + rest >= 0 bounds x from below or above. Where p = 0, the infinity of rest's sign shows
    # all or nothing, and 0 / 0 all.
    root = (-rest / p.abs()).nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    left = root.where(p >= 0, -torch.inf).amax(dim=1).ceil().clamp(0, width).long()
    right = (-root).where(p < 0, torch.inf).amin(dim=1).floor().clamp(-1, width - 1).long()
    first = torch.maximum(left, screen.columns[0][owner])
    pixels = (torch.minimum(right, screen.columns[1][owner]) - first + 1).clamp_min(0)
    plane = screen.plane[owner]
    value = plane[:, 0] * first + plane[:, 1] * y + plane[:, 2]
    index = (screen.target[owner] * height + y) * width + first
    spans = Spans(first=index, plane=value, slope=plane[:, 0], volume=screen.volume[owner])
    return spans, pixels
