"""The interface of depth backends for pictures, and the choice among them.

Pictures are RGB in [0, 1]. A region is the part of the user's picture that a picture shows, as
fractions (left, top, right, bottom): a depth file is cut by it, networks ignore it.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ...checkpoints import NANO_ASSETS, find_checkpoint, search_checkpoint
from ...geometry.fit import WHOLE, Fit, Region, sample_region
from ...io.depth_file import SUFFIXES, StoredDepth, read_depth_file
from ...runtime import InputError, get_logger
from ..edges import snap_edges
from ..estimate import DepthEstimate, assumed_intrinsics
from .depth_anything import load_depth_anything
from .moge import MoGeDepth
from .nano import NanoDepth, NanoPrediction, load_nano_depth

LOGGER = get_logger(__name__)
NAMES = ("auto", "moge", "depth_anything", "nano")
# The least share of pixels with depth that makes a scene.
LEAST_SHARE = 0.02
# The size of the second input: a larger one shows finer edges.
ZOOM = 1.25


@runtime_checkable
class DepthUnit(Protocol):
    """The name and the unit of a depth backend, for pictures or for videos."""

    # Its name in the metadata of a clip.
    name: str
    # Whether its depth is in the unit of the trajectories, and is kept.
    scene_scale: bool


@runtime_checkable
class DepthBackend(DepthUnit, Protocol):
    """A source of depth for pictures."""

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture, at its size."""
        ...


def resolve_depth(
    name: str, checkpoint_dir: Path | str = "checkpoints", device: torch.device | str = "cpu"
) -> DepthBackend:
    """The backend called `name`, or that of a depth file if `name` is a path; the log names it.

    `auto` is as in `named_depth`. Weights come from the checkpoint folder; if it lacks those of
    MoGe or Depth Anything, from the hub. Raises `InputError` for an unknown name, a package that is
    not installed, weights that are missing.
    """
    chosen = named_depth(name, checkpoint_dir)
    backend: DepthBackend
    if chosen == "moge":
        backend = MoGeDepth(checkpoint_dir, device)
    elif chosen == "depth_anything":
        backend = load_depth_anything(checkpoint_dir, device)
    elif chosen == "nano":
        folder = find_checkpoint("depth", checkpoint_dir, NANO_ASSETS)
        backend = NanoBackend(load_nano_depth(folder, device), device)
    elif Path(chosen).suffix.lower() in SUFFIXES:
        backend = FileDepth(Path(chosen))
    else:
        expected = f"one of {', '.join(NAMES)}, or a file ({', '.join(SUFFIXES)})"
        raise InputError("depth backend", repr(chosen), expected)
    LOGGER.info("depth by %s%s", backend.name, " (auto)" if name == "auto" else "")
    return backend


def named_depth(name: str, checkpoint_dir: Path | str) -> str:
    """The name itself; for `auto` "nano" if the checkpoint folder has `depth/`, else "moge"."""
    if name != "auto":
        return name
    return "moge" if search_checkpoint("depth", checkpoint_dir) is None else "nano"


def in_scene_unit(estimate: DepthEstimate, backend: DepthUnit) -> tuple[DepthEstimate, float]:
    """Depth in the unit of trajectories, which turn about depth 1, and its divisor.

    The divisor is the median of the valid depth (of the first frame), or 1 for a backend with
    `scene_scale`. Raises `InputError` if no pixel of the mask has a finite depth above 0.
    """
    first = estimate.frame(0) if estimate.depth.ndim == 3 else estimate
    valid = first.depth[first.mask & first.depth.isfinite() & (first.depth > 0)]
    if not len(valid):
        raise InputError("depth map", "no valid pixel", "one or more with a finite depth > 0")
    divisor = 1.0 if backend.scene_scale else valid.median().item()
    return replace(estimate, depth=estimate.depth / divisor), divisor


@dataclass(frozen=True)
class NanoBackend:
    """The small network of the project."""

    network: NanoDepth
    device: torch.device | str = "cpu"
    name = "nano"
    # The worlds of its training have about unit depth at the centre, photographs may not.
    scene_scale = False

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture and the predicted lens; see `nano_estimates`."""
        return nano_estimates(self.network, image[None].to(self.device))[0]


@torch.inference_mode()
def nano_estimates(network: NanoDepth, images: Float[Tensor, "batch 3 h w"]) -> list[DepthEstimate]:
    """Depth of pictures in [0, 1] and their predicted lenses, on the network's device.

    If nearly all of a picture is taken for sky, the sky has depth too.
    """
    height, width = images.shape[2:]
    found = nano_prediction(network, images)
    focal = found.log_focal.exp() * math.hypot(height, width)
    centre = focal.new_tensor([width / 2, height / 2]).expand(len(images), 2)
    intrinsics = torch.cat([focal[:, None].expand(-1, 2), centre], dim=1)
    mask = found.mask_logit > 0
    nothing = mask.flatten(1).float().mean(1) < LEAST_SHARE
    if nothing.any():
        LOGGER.warning("nano depth: hardly any pixel with a depth; all of them are taken")
        mask = mask | nothing[:, None, None]
    return list(map(DepthEstimate, found.log_depth.exp(), mask, intrinsics))


@torch.inference_mode()
def nano_prediction(network: NanoDepth, images: Float[Tensor, "batch 3 h w"]) -> NanoPrediction:
    """What the network says of pictures in [0, 1], with finer edges of depth.

    Depth is the mean of that of a picture and of its larger mirror image, brought to one scale;
    blurred edges are moved to those of the picture.
    """
    found, other = network(images), network(images.flip(3), ZOOM).log_depth.flip(2)
    scale = (found.log_depth - other).flatten(1).median(dim=1).values
    mean = (found.log_depth + other + scale[:, None, None]) / 2
    snapped = [snap_edges(*pair) for pair in zip(mean, images, strict=True)]
    return replace(found, log_depth=torch.stack(snapped))


class FileDepth:
    """A backend for pictures: the first depth map of a file (see `src/io/depth_file.py`)."""

    scene_scale = False

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """The part of the map under the region, at the size of the picture."""
        height, width = image.shape[1:]
        stored = read_depth_file(self._path, [0])
        return cut_depth(stored, 0, size=(height, width), region=region)


def cut_depth(
    stored: StoredDepth, row: int, size: tuple[int, int], region: Region = WHOLE
) -> DepthEstimate:
    """The region of one stored map at `size` (height, width), with its or assumed intrinsics."""
    source = stored.depth[row : row + 1]
    known = source.isfinite() & (source > 0)
    # The mean of the known ones among four pixels.
    maps = torch.cat([source.where(known, 0), known.float()])
    total, weight = sample_region(maps, region, size)
    mask = sample_region(maps[1:], region, size, mode="nearest")[0] > 0
    mask = mask & (weight > 0)
    depth = (total / weight).where(mask, torch.inf)
    if stored.intrinsics is None:
        intrinsics = assumed_intrinsics(size[0], size[1], region)
    else:
        height, width = stored.depth.shape[1:]
        fit = Fit(source=(height, width), target=size, region=region, content=size, offset=(0, 0))
        intrinsics = fit.intrinsics(stored.intrinsics[row])
    return DepthEstimate(depth, mask, intrinsics)
