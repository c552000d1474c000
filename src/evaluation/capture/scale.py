"""The factor from a capture's unit to a scene's, and the pixels that its input picture covers.

Scenes are in the unit of the generator's trajectories: a depth network's depth over a divisor,
its median in the input (1 for a network that is in that unit already).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...depth.backends.choice import DepthBackend, cut_depth
from ...depth.sources import still_source
from ...geometry.cameras import Cameras
from ...geometry.rays import project
from ...geometry.warping import Warp, point_frames, warp_frames
from ...io.atomic import atomic_path
from ...io.depth_file import read_depth_file
from ...io.image import read_image
from ...runtime import InputError, get_logger
from ..metrics import clip_errors
from .reading import Capture

LOGGER = get_logger(__name__)
# The farthest camera of the search, in median depths of the scene; the steps of its grid.
NEAREST, FARTHEST, GRID = 0.02, 5.0, 33
# Golden section stops at a bracket of this ratio.
PRECISION = 0.003
GOLDEN = (5**0.5 - 1) / 2
# Factors that bring less of the input into the targets are no candidates: the score of a few
# pixels means nothing.
LEAST_COVERED = 0.25
# Pictures of the search: evenly among the nearest quarter of the targets, which see the input.
SEARCHED, QUARTER = 8, 4
FEWEST_SAMPLES = 20
FEW = f"{FEWEST_SAMPLES} or more"


@dataclass(frozen=True, kw_only=True)
class InputView:
    """The input picture with the depth that its scene was made with; its camera is the origin."""

    image: Float[Tensor, "3 h w"]  # in [0, 1]
    depth: Float[Tensor, "h w"]  # in the scene's unit, > 0; large where unknown
    known: Bool[Tensor, "h w"]
    intrinsics: Float[Tensor, "4"]  # of the scene's input camera
    divisor: float

    def warp(self, cameras: Cameras) -> Warp:
        """The picture's pixels, forward-warped to cameras in the scene's unit."""
        # Warps have pixel centres at integers.
        shift = self.intrinsics.new_tensor([0, 0, 0.5, 0.5])
        pose = torch.eye(4, device=self.depth.device)
        frames = point_frames(
            2 * self.image[None] - 1,
            self.depth[None],
            (self.intrinsics - shift)[None],
            pose[None],
            threshold=1.0,
            mask=(self.depth > 0)[None],
            foreground_masking=False,
        )
        return warp_frames(frames, cameras.intrinsics - shift, cameras.w2c)


@dataclass(frozen=True)
class Factor:
    """Scene units per unit of the capture, and how they were found."""

    value: float
    method: str


def input_view(
    capture: Capture, index: int, backend: DepthBackend, size: tuple[int, int]
) -> InputView:
    """The input as the generator's command prepares it, cropped to `size` (height, width)."""
    found = still_source(read_image(capture.pictures[index]), backend, size)
    estimate = found.prepared.estimate
    return InputView(
        image=(found.prepared.image + 1) / 2,
        depth=estimate.depth,
        known=estimate.mask,
        intrinsics=estimate.intrinsics,
        divisor=found.divisor,
    )


def write_depth_with_lens(capture: Capture, index: int, backend: DepthBackend, path: Path) -> Path:
    """Writes the input's depth as `backend` estimates it, with the lens of the capture.

    The file (.npz, see src/io/depth_file.py) is a depth of the generator's command. Returns `path`.
    Raises `InputError` for an unreadable picture.
    """
    cameras = capture.cameras
    picture = capture.picture(index, (cameras.height, cameras.width))
    estimate = backend(picture)
    depth = estimate.depth.where(estimate.mask, torch.inf).cpu().float().numpy()
    lens = cameras.intrinsics[index].cpu().float().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, depth=depth, intrinsics=lens)
    return path


def scaled(cameras: Cameras, factor: float) -> Cameras:
    """Cameras with translations times `factor`."""
    c2w = cameras.c2w.clone()
    c2w[..., :3, 3] *= factor
    return replace(cameras, c2w=c2w)


def near_targets(cameras: Cameras) -> list[int]:
    """The places of the targets of the search, by distance from the input at the origin."""
    order = cameras.c2w[:, :3, 3].norm(dim=-1).argsort(stable=True).tolist()
    nearest = order[: max(SEARCHED, len(order) // QUARTER)]
    step = (len(nearest) - 1) / (SEARCHED - 1)
    return sorted({nearest[round(step * number)] for number in range(SEARCHED)})


def align_scale(
    capture: Capture,
    index: int,
    view: InputView,
    cameras: Cameras,
    targets: Float[Tensor, "frame 3 h w"],
) -> Factor:
    """One factor by depth of the input where the capture has any, else by a search.

    `cameras` are those of the `targets`, relative to the input, in the capture's unit.
    """
    size = (view.depth.shape[0], view.depth.shape[1])
    if (path := capture.depth[index]) is not None:
        stored = read_depth_file(path, [0])
        theirs = cut_depth(stored, 0, size=size, region=capture.fit(size).region)
        both = theirs.mask.to(view.known.device) & view.known
        ratios = view.depth[both] / theirs.depth.to(view.depth)[both]
        if len(ratios) < FEWEST_SAMPLES:
            raise InputError(path, f"{len(ratios)} pixels with a depth", FEW)
        return Factor(ratios.median().item(), f"depth map, median of {len(ratios)} ratios")
    ratios = _point_ratios(capture, index, view)
    if len(ratios) >= FEWEST_SAMPLES:
        return Factor(ratios.median().item(), f"COLMAP points, median of {len(ratios)} ratios")
    extent = cameras.c2w[:, :3, 3].norm(dim=-1).amax().item()
    if extent == 0:
        return Factor(1.0, "none: the cameras only turn")
    score = _covered_psnr(view, cameras, targets)
    median = view.depth[view.known].median().item()
    span = (NEAREST * median / extent, FARTHEST * median / extent)
    found = search_factor(score, span)
    return Factor(found, f"search: PSNR of the warped input on {len(targets)} near targets")


def _point_ratios(capture: Capture, index: int, view: InputView) -> Float[Tensor, " point"]:
    """Depth of the scene over depth of COLMAP's points at their pixels."""
    height, width = view.depth.shape
    points = capture.points(index).double()
    lens = capture.fit((height, width)).intrinsics(capture.cameras.intrinsics[index].double())
    xy, z = project(points, lens, capture.cameras.w2c[index].double())
    column, row = xy.floor().long().unbind(dim=-1)
    inside = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = row[inside].to(view.depth.device), column[inside].to(view.depth.device)
    ratios = view.depth[row, column] / z[inside].to(view.depth)
    return ratios[view.known[row, column]]


def _covered_psnr(
    view: InputView, cameras: Cameras, targets: Float[Tensor, "frame 3 h w"]
) -> Callable[[float], float]:
    """Returns the PSNR of the warped input on the targets' covered pixels, by factor."""

    def score(factor: float) -> float:
        warp = view.warp(scaled(cameras, factor))
        if warp.mask.float().mean() < LEAST_COVERED:
            return -torch.inf
        shown = (warp.image + 1)[:, :, None] / 2
        pooled = clip_errors(shown, targets[:, :, None], warp.mask[:, None]).summary()["pooled"]
        return torch.inf if pooled is None else float(pooled)

    return score


def search_factor(score: Callable[[float], float], span: tuple[float, float]) -> float:
    """The factor in `span` of the highest score: the best of a grid, then golden section.

    Raises `InputError` if no factor has a score.
    """
    low, high = log(span[0]), log(span[1])
    grid = [low + (high - low) * step / (GRID - 1) for step in range(GRID)]
    values = [score(exp(at)) for at in grid]
    best = max(range(GRID), key=values.__getitem__)
    if values[best] == -torch.inf:
        expected = f"targets that see {LEAST_COVERED:.0%} of the input: give a depth map"
        raise InputError("scale of the capture", "no factor", expected)
    if best in (0, GRID - 1):
        LOGGER.warning("the scale of the capture lies at an end of the search; don't trust it")
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    found = [score(exp(at)) for at in inner]
    while high - low > PRECISION:
        if found[0] > found[1]:
            high, inner[1], found[1] = inner[1], inner[0], found[0]
            inner[0] = high - GOLDEN * (high - low)
            found[0] = score(exp(inner[0]))
        else:
            low, inner[0], found[0] = inner[0], inner[1], found[1]
            inner[1] = low + GOLDEN * (high - low)
            found[1] = score(exp(inner[1]))
    return exp((low + high) / 2)
