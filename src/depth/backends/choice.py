"""Depth backends: what turns a picture into depth, a mask and a camera, and how one is chosen.

Pictures are RGB in [0, 1]. A region is the part of the user's picture that a picture shows, as
fractions (left, top, right, bottom): networks only look at the picture, a depth file is cut by it.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ...checkpoints import NANO_ASSETS, find_checkpoint, search_checkpoint
from ...geometry.fit import WHOLE, Region
from ...io.depth_file import SUFFIXES
from ...runtime import InputError, get_logger
from ..estimate import DepthEstimate
from ..lens import assumed_intrinsics
from .depth_anything import DepthAnythingModel, load_depth_anything
from .file import FileDepth
from .moge_model import MoGeDepth
from .nano import NanoDepth, load_nano_depth

LOGGER = get_logger(__name__)
NAMES = ("auto", "moge", "depth_anything", "nano")
# Of the pixels of a picture: with fewer there is no scene to move about in.
LEAST_SHARE = 0.02


@runtime_checkable
class DepthBackend(Protocol):
    """Where depth comes from."""

    @property
    def name(self) -> str:
        """What the metadata of a clip call it."""
        ...

    @property
    def scene_scale(self) -> bool:
        """Whether depth comes in the unit that the trajectories assume, and is kept as it is."""
        ...

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture, at its size."""
        ...


def resolve_depth(
    name: str,
    checkpoint_dir: Path | str = "checkpoints",
    device: torch.device | str = "cpu",
) -> DepthBackend:
    """The backend called `name`, or that of a depth file if `name` is a path; says which it is.

    `auto` is as in `named_depth`. The weights come from the checkpoint folder; where those of MoGe
    or Depth Anything are not in it, from the hub.

    Raises:
        InputError: an unknown name, a package that is not installed, weights that are missing.
    """
    backend = _backend(named_depth(name, checkpoint_dir), checkpoint_dir, device)
    LOGGER.info("depth by %s%s", backend.name, " (auto)" if name == "auto" else "")
    return backend


def named_depth(name: str, checkpoint_dir: Path | str) -> str:
    """The name itself, or what `auto` stands for.

    That is MoGe, as published; our small network only where the checkpoint folder brings it, in
    `depth/`, as that of nano does. No other network takes MoGe's place unasked.
    """
    if name != "auto":
        return name
    return "moge" if search_checkpoint("depth", checkpoint_dir) is None else "nano"


def _backend(name: str, checkpoint_dir: Path | str, device: torch.device | str) -> DepthBackend:
    if name == "moge":
        return MoGeDepth(checkpoint_dir, device)
    if name == "depth_anything":
        return DepthAnything(load_depth_anything(checkpoint_dir, device), device)
    if name == "nano":
        folder = find_checkpoint("depth", checkpoint_dir, NANO_ASSETS)
        return NanoBackend(load_nano_depth(folder, device), device)
    if Path(name).suffix.lower() in SUFFIXES:
        return FileDepth(Path(name))
    expected = f"one of {', '.join(NAMES)}, or a file ({', '.join(SUFFIXES)})"
    raise InputError("depth backend", repr(name), expected)


def scene_estimate(
    backend: DepthBackend, image: Float[Tensor, "3 h w"], region: Region = WHOLE
) -> tuple[DepthEstimate, float]:
    """Depth in the unit that trajectories assume, and the number it was divided by.

    Trajectories turn about depth 1. Depth of unknown or metric scale is therefore divided by its
    median over the valid pixels, so that they turn about the scene.
    """
    estimate = backend(image, region)
    if backend.scene_scale:
        valid_depth(estimate)
        return estimate, 1.0
    return divide_by_median(estimate)


def divide_by_median(estimate: DepthEstimate) -> tuple[DepthEstimate, float]:
    """The estimate over the median of its valid depth, and that median."""
    median = valid_depth(estimate).median().item()
    return replace(estimate, depth=estimate.depth / median), median


def valid_depth(estimate: DepthEstimate) -> Float[Tensor, " pixel"]:
    """The finite depths above 0 within the mask; `InputError` where there are none."""
    valid = estimate.depth[estimate.mask & estimate.depth.isfinite() & (estimate.depth > 0)]
    if not len(valid):
        raise InputError("depth map", "no valid pixel", "one or more with a finite depth > 0")
    return valid


@dataclass(frozen=True)
class DepthAnything:
    """Depth Anything V2 (Yang et al. 2024) with an assumed field of view."""

    network: DepthAnythingModel
    device: torch.device | str = "cpu"
    name = "depth_anything"
    scene_scale = False

    @torch.inference_mode()
    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture, unknown where it is all but infinite."""
        depth, mask = self.network(image.to(self.device))
        intrinsics = assumed_intrinsics(depth.shape[0], depth.shape[1], region).to(depth.device)
        return DepthEstimate(depth, mask, intrinsics)


@dataclass(frozen=True)
class NanoBackend:
    """The small network of the project."""

    network: NanoDepth
    device: torch.device | str = "cpu"
    name = "nano"
    # The worlds it learnt from have about unit depth at the centre, photographs need not.
    scene_scale = False

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture and the network's guess of the lens; see `nano_estimates`."""
        return nano_estimates(self.network, image[None].to(self.device))[0]


@torch.inference_mode()
def nano_estimates(network: NanoDepth, images: Float[Tensor, "batch 3 h w"]) -> list[DepthEstimate]:
    """Depth of pictures in [0, 1] and the network's guess of their lenses, on its device.

    Where all but nothing of a picture passes for sky, the sky has depth too.
    """
    height, width = images.shape[2:]
    found = network(images)
    focal = found.log_focal.exp() * math.hypot(height, width)
    centre = focal.new_tensor([width / 2, height / 2]).expand(len(images), 2)
    intrinsics = torch.cat([focal[:, None].expand(-1, 2), centre], dim=1)
    mask = found.mask_logit > 0
    nothing = mask.flatten(1).float().mean(1) < LEAST_SHARE
    if nothing.any():
        LOGGER.warning("nano depth: hardly any pixel with a depth; all of them are taken")
        mask = mask | nothing[:, None, None]
    return list(map(DepthEstimate, found.log_depth.exp(), mask, intrinsics))
