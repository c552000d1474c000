"""Warping of frames with depth to other cameras, through their points in the world.

Pixel centres lie at INTEGER coordinates here: pixel (row j, column i) is at `(i, j)`. Depth is
measured along the optical axis, in world units; images are in [-1, 1].

Points are splatted with a soft z-buffer. A sample at `(x, y)` spreads over the four surrounding
pixels, with bilinear weights divided by `exp(50 L / max L)`, `L = log(1 + z)`: nearer samples win
exponentially, samples of one surface blend. Samples beyond the frame's edge reach the pixels that
they overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .occlusion import boundary_mesh
from .rays import project, unproject

# Pixels a side of the window that decides whether depth is reliable.
WINDOW = 5
# The published threshold of the boundary mesh; splatted points have a threshold of their own.
BOUNDARY_THRESHOLD = 0.05
# Absolute, in world units, as published.
OCCLUSION_MARGIN = 0.02
# Bounds the working memory to about 1 GB: 100 bytes a sample.
SAMPLES_PER_CHUNK = 2**23
HOLE = -1.0
SHARPNESS = 50.0
# Two frames share a normaliser max L, as in the original, which splats them in pairs.
PAIR = 2


@dataclass(frozen=True)
class Warp:
    """Warped frames in target cameras."""

    image: Float[Tensor, "target 3 h w"]  # in [-1, 1], -1 in holes
    mask: Bool[Tensor, "target h w"]  # whether a sample reaches the pixel
    depth: Float[Tensor, "target h w"]  # along the optical axis, in world units, 0 in holes


@dataclass(frozen=True)
class Samples:
    """Coloured samples at pixel positions of each target; `one` is 1 or the target count."""

    xy: Float[Tensor, "target n 2"]
    z: Float[Tensor, "target n"]
    rgb: Float[Tensor, "one 3 n"]
    mask: Bool[Tensor, "one n"] | None = None  # samples that count; None: all


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


def splat(samples: Samples, height: int, width: int) -> Warp:
    """The pictures of `samples` in frames of `height` x `width` pixels.

    Samples with z <= 0 don't count. Targets 0 and 1, 2 and 3, ... are pairs (the last may be
    single) with one `max L` over all their samples, also those that don't count. Targets may
    therefore be split at even positions.
    """
    weight = nearness(samples.z) * (samples.z > 0)
    if samples.mask is not None:
        weight = weight * samples.mask
    targets, pixels = weight.shape[0], height * width
    values = (*samples.rgb.unbind(dim=1), samples.z)
    sums = [weight.new_zeros(targets * pixels) for _ in values]
    total = weight.new_zeros(targets * pixels)
    for corner_weight, index in corners(samples.xy, height, width):
        share = weight * corner_weight.to(weight.dtype)
        total.index_add_(0, index, share.flatten())
        for value, plane in zip(values, sums, strict=True):
            plane.index_add_(0, index, (share * value).flatten())
    mask = total > 0
    divisor = total.where(mask, 1)
    *rgb, z = (
        (plane / divisor).where(mask, fill).view(targets, height, width)
        for plane, fill in zip(sums, (HOLE, HOLE, HOLE, 0.0), strict=True)
    )
    return Warp(torch.stack(rgb, dim=1).clamp(-1, 1), mask.view_as(z), z)


def nearness(z: Float[Tensor, "target n"]) -> Float[Tensor, "target n"]:
    """Weights `1 / exp(50 L / max L)`, the maximum taken over pairs of targets."""
    log_depth = z.clamp_min(0).log1p()
    targets = z.shape[0]
    farthest = F.pad(log_depth.amax(dim=1), (0, targets % PAIR))
    farthest = farthest.view(-1, PAIR).amax(dim=1).repeat_interleave(PAIR)[:targets, None]
    return 1 / ((SHARPNESS * log_depth / (farthest + 1e-7)).exp() + 1e-7)


def corners(
    xy: Float[Tensor, "target n 2"], height: int, width: int
) -> Iterator[tuple[Float[Tensor, "target n"], Int[Tensor, " target*n"]]]:
    """The four pixels around each position: bilinear weights, and indices over all targets.

    At an integer coordinate both neighbours are the pixel itself, with weight 1 each (rounding up
    is a ceiling, not a floor plus one). A pixel beyond the frame has weight 0.
    """
    targets, samples = xy.shape[:2]
    # The original adds a border of one pixel: the same positions must round to integers.
    x, y = (xy + 1).unbind(dim=-1)
    # Weights of 0 are spread over the frame: atomic additions to one pixel wait for each other.
    spread = torch.arange(samples, device=xy.device) % (height * width)
    first = torch.arange(targets, device=xy.device)[:, None] * (height * width)
    for column in (x.floor(), x.ceil()):
        for row in (y.floor(), y.ceil()):
            inside = (column >= 1) & (column <= width) & (row >= 1) & (row <= height)
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            index = (row.long() - 1) * width + column.long() - 1
            index = torch.where(inside, index, spread) + first
            yield weight.where(inside, 0), index.flatten()
