"""Warping of frames with depth to other cameras, through their points in the world.

Pixel centres lie at INTEGER coordinates here: pixel (row j, column i) is at `(i, j)`. Depth is
measured along the optical axis, in world units; images are in [-1, 1].
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .occlusion import boundary_mesh
from .projection import project, unproject
from .reliability import reliable_mask
from .splatting import HOLE, PAIR, Samples, Warp, splat

# The published threshold of the boundary mesh, whatever the threshold of the splatted points.
BOUNDARY_THRESHOLD = 0.05
# Absolute, in world units, as published.
OCCLUSION_MARGIN = 0.02
# Bounds the working memory to about 1 GB: 100 bytes a sample.
SAMPLES_PER_CHUNK = 2**23


@dataclass(frozen=True)
class PointFrames:
    """Frames whose pixels have a place in the world."""

    points: Float[Tensor, "source h w 3"]  # the world's origin where there is no depth
    image: Float[Tensor, "source 3 h w"]
    mask: Bool[Tensor, "source h w"] | None = None  # pixels that are warped; None: all
    boundary: Bool[Tensor, "source h w"] | None = None  # edges that occlude; None: nothing does


def lift(
    depth: Float[Tensor, "source h w"],
    intrinsics: Float[Tensor, "source 4"],
    w2c: Float[Tensor, "source 4 4"],
) -> Float[Tensor, "source h w 3"]:
    """The world points of depth maps, the world's origin where depth is not positive.

    Where a target stands at its source, points fall onto pixel centres, and an error of 1e-6
    pixels, that of float32, decides whether the hole next to a surface is filled; depth in float64
    gives points without it.
    """
    # The exact inverse, not the transpose: float32 rotations are orthonormal to 1e-7 only. Where a
    # target equals its source, a shift of 1e-5 pixels to one side fills all holes of that side.
    c2w = torch.linalg.inv(w2c.double()).to(depth.dtype)
    points = unproject(depth, intrinsics.to(depth.dtype), c2w, pixel_offset=0.0)
    return points.where((depth > 0)[..., None], 0)


def point_frames(
    image: Float[Tensor, "source 3 h w"],
    depth: Float[Tensor, "source h w"],
    intrinsics: Float[Tensor, "source 4"],
    w2c: Float[Tensor, "source 4 4"],
    threshold: float = 0.05,
    mask: Bool[Tensor, "source h w"] | None = None,
    *,
    foreground_masking: bool = True,
) -> PointFrames:
    """Frames lifted into the world, of which pixels that are reliable at `threshold` are warped.

    Depth is finite; the points have its type (see `lift`). A `threshold` of 1 or more takes all
    pixels for reliable, also those without depth (as published). `mask` further restricts the
    pixels; `foreground_masking` lets depth edges hide what lies behind them.
    """
    warped = mask
    if threshold < 1:
        reliable = reliable_mask(depth.float(), threshold)
        warped = reliable if mask is None else reliable & mask
    boundary = ~reliable_mask(depth.float(), BOUNDARY_THRESHOLD) if foreground_masking else None
    return PointFrames(lift(depth, intrinsics, w2c), image, warped, boundary)


def warp_frames(
    sources: PointFrames,
    intrinsics: Float[Tensor, "target 4"],
    w2c: Float[Tensor, "target 4 4"],
    *,
    drop_invalid: bool = False,
    samples_per_chunk: int = SAMPLES_PER_CHUNK,
) -> Warp:
    """What each target camera sees of its source frame; target `i` sees source `i % sources`.

    One source serves all targets, as many sources as targets make a moving scene, and N sources
    are the buffers of a cache, for targets that repeat each camera N times. Targets have the size
    of the sources. Consecutive targets are blended in pairs (see `splat`); `samples_per_chunk`
    bounds memory and changes nothing else. `drop_invalid` keeps pixels without depth out of the
    occluding mesh; the original lets them in, as corners at the world's origin that hide what they
    should not, and the published results are made that way.
    """
    count, (sources_count, height, width) = len(w2c), sources.points.shape[:3]
    device = sources.points.device
    mesh = None
    if sources.boundary is not None:
        mesh = boundary_mesh(sources.points, sources.boundary, drop_invalid=drop_invalid)
    image = sources.image.new_empty(count, 3, height, width)
    depth = image.new_empty(count, height, width)
    mask = torch.empty_like(depth, dtype=torch.bool)
    step = max(samples_per_chunk // (height * width) // PAIR, 1) * PAIR
    for start in range(0, count, step):
        chunk = slice(start, min(start + step, count))
        seen = torch.arange(count, device=device)[chunk] % sources_count
        warp = _splat_frames(sources, seen, intrinsics[chunk], w2c[chunk])
        if mesh is not None:
            mesh_depth = mesh.depth(seen, intrinsics[chunk], w2c[chunk], (height, width))
            warp = _hide(warp, mesh_depth)
        image[chunk], mask[chunk], depth[chunk] = warp.image, warp.mask, warp.depth
    return Warp(image, mask, depth)


def _splat_frames(
    sources: PointFrames,
    seen: Int[Tensor, " target"],
    intrinsics: Float[Tensor, "target 4"],
    w2c: Float[Tensor, "target 4 4"],
) -> Warp:
    """Source frame `seen[i]` splatted into target `i`."""
    # A single source is broadcast instead of copied for every target.
    chosen = seen if len(sources.points) > 1 else slice(None)
    points = sources.points[chosen]
    height, width = points.shape[1:3]
    xy, z = project(points.flatten(1, 2), intrinsics.to(points.dtype), w2c.to(points.dtype))
    mask = None if sources.mask is None else sources.mask[chosen].flatten(1)
    rgb = sources.image[chosen].flatten(2)
    # Positions keep their precision, which decides on their pixels; nothing else needs it.
    return splat(Samples(xy, z.to(rgb.dtype), rgb, mask), height, width)


def _hide(warp: Warp, mesh_depth: Float[Tensor, "target h w"]) -> Warp:
    """`warp` with holes where the boundary mesh stands in front of what was splatted."""
    visible = mesh_depth + OCCLUSION_MARGIN >= warp.depth
    image = warp.image.where(visible[:, None], HOLE)
    return Warp(image, warp.mask & visible, warp.depth.where(visible, 0))
