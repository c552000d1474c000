"""Warping of frames with depth to other cameras, through their points in the world.

Pixel centres lie at INTEGER coordinates here: pixel (row j, column i) is at `(i, j)`. Depth is
measured along the optical axis, in world units; images are in [-1, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .occlusion import boundary_mesh
from .projection import project, unproject
from .splatting import HOLE, PAIR, Samples, Warp, splat

# Pixels a side of the window that decides whether depth is reliable.
WINDOW = 5
# The published threshold of the boundary mesh; splatted points have a threshold of their own.
BOUNDARY_THRESHOLD = 0.05
# Absolute, in world units, as published.
OCCLUSION_MARGIN = 0.02
# Bounds the working memory to about 1 GB: 100 bytes a sample.
SAMPLES_PER_CHUNK = 2**23


@dataclass(frozen=True)
class PointFrames:
    """Frames with a world point for each pixel."""

    points: Float[Tensor, "source h w 3"]  # the world's origin where there is no depth
    image: Float[Tensor, "source 3 h w"]
    mask: Bool[Tensor, "source h w"] | None = None  # pixels to warp; None: all
    boundary: Bool[Tensor, "source h w"] | None = None  # edges that occlude; None: none


def reliable_mask(
    depth: Float[Tensor, "*batch h w"], threshold: float
) -> Bool[Tensor, "*batch h w"]:
    """Where depth is positive and varies by less than `threshold` of its mean in 5x5 windows.

    Depth networks smear the edge of a near surface onto the background; such points would float in
    the air. The measure is `(max - min) / (mean + 1e-6)`. As published, the mean alone counts zeros
    beyond the frame, so its border is filtered more strictly. NaN makes its windows unreliable.
    """
    maps = depth.reshape(-1, 1, *depth.shape[-2:])
    padding = WINDOW // 2
    farthest = F.max_pool2d(maps, WINDOW, stride=1, padding=padding)
    nearest = -F.max_pool2d(-maps, WINDOW, stride=1, padding=padding)
    mean = F.avg_pool2d(maps, WINDOW, stride=1, padding=padding, count_include_pad=True)
    reliable = ((farthest - nearest) / (mean + 1e-6) < threshold) & (maps > 0)
    return reliable.reshape(depth.shape)


def lift(
    depth: Float[Tensor, "source h w"],
    intrinsics: Float[Tensor, "source 4"],
    w2c: Float[Tensor, "source 4 4"],
) -> Float[Tensor, "source h w 3"]:
    """The world points of depth maps, in their type; the world's origin where depth is <= 0.

    If a target camera equals its source, points fall onto pixel centres, and float32's error of
    1e-6 pixels decides whether the hole next to a surface is filled. Float64 avoids that.
    """
    # The exact inverse, not the transpose: float32 rotations are orthonormal to 1e-7 only, and a
    # shift of 1e-5 pixels would fill all holes of one side.
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
    """Frames lifted into the world; the pixels in `mask` that are reliable are warped.

    Depth is finite; the points have its type (see `lift`). At a `threshold` of 1 or more all pixels
    count as reliable, also those without depth (as published). With `foreground_masking` depth
    edges hide the points behind them.
    """
    warped = mask
    if threshold < 1:
        reliable = reliable_mask(depth.float(), threshold)
        warped = reliable if mask is None else reliable & mask
    boundary = ~reliable_mask(depth.float(), BOUNDARY_THRESHOLD) if foreground_masking else None
    points = lift(depth, intrinsics, w2c)
    return PointFrames(points=points, image=image, mask=warped, boundary=boundary)


def warp_frames(
    sources: PointFrames,
    intrinsics: Float[Tensor, "target 4"],
    w2c: Float[Tensor, "target 4 4"],
    *,
    drop_invalid: bool = False,
    samples_per_chunk: int = SAMPLES_PER_CHUNK,
) -> Warp:
    """Warps source frame `i % sources` to target camera `i`, at the size of the sources.

    One source serves all targets; as many sources as targets make a moving scene; N sources are the
    buffers of a cache, whose targets repeat each camera N times. Consecutive targets are blended in
    pairs (see `splat`); `samples_per_chunk` only bounds memory. `drop_invalid` keeps pixels without
    depth out of the occluding mesh, in which the published results include them.
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
        warp = _splat_frames(sources, seen=seen, intrinsics=intrinsics[chunk], w2c=w2c[chunk])
        if mesh is not None:
            mesh_depth = mesh.depth(
                source=seen, intrinsics=intrinsics[chunk], w2c=w2c[chunk], size=(height, width)
            )
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
    # Only positions need the points' precision.
    samples = Samples(xy=xy, z=z.to(rgb.dtype), rgb=rgb, mask=mask)
    return splat(samples, height, width)


def _hide(warp: Warp, mesh_depth: Float[Tensor, "target h w"]) -> Warp:
    """`warp` with holes where the boundary mesh is in front of the splatted points."""
    visible = mesh_depth + OCCLUSION_MARGIN >= warp.depth
    image = warp.image.where(visible[:, None], HOLE)
    return Warp(image, warp.mask & visible, warp.depth.where(visible, 0))
