"""Depth Anything V2 (Yang et al. 2024) through transformers, with an assumed field of view.

The metric models give depth; the relative ones give inverse depth of unknown scale, 0 at infinity.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...checkpoints import search_checkpoint
from ...geometry.fit import WHOLE, Region
from ...runtime import InputError, get_logger
from ..estimate import DepthEstimate, assumed_intrinsics

LOGGER = get_logger(__name__)
FETCH = "python scripts/download_checkpoints.py --what depth_anything"
REPOSITORY = "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"
# The network was trained with a shorter side of 518 pixels, 37 patches of 14.
SHORTER_SIDE, LONGEST_SIDE = 518, 2072
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Inverse depth below this share of the nearest pixel's counts as sky.
FARTHEST_SHARE = 0.01


class DepthAnything:
    """The backend, with the preparation of pictures that its network was trained with."""

    name, scene_scale = "depth_anything", False

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        """`network` is transformers' `DepthAnythingForDepthEstimation`."""
        self.network, self._device = network.to(device).eval(), device

    @torch.inference_mode()
    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture, infinite where it is unknown."""
        config: Any = self.network.config
        height, width = image.shape[1:]
        size = working_size(height, width, config.patch_size)
        # Trained with torch's antialiased bicubic; that of `geometry/fit.py` is Pillow's, in bytes.
        values = F.interpolate(image[None].to(self._device), size, mode="bicubic", antialias=True)
        mean, std = (values.new_tensor(part)[:, None, None] for part in (MEAN, STD))
        predicted = self.network(pixel_values=(values - mean) / std).predicted_depth
        depth = F.interpolate(
            predicted[:, None].float(), (height, width), mode="bilinear", align_corners=False
        )[0, 0]
        if config.depth_estimation_type == "metric":
            mask = depth > 0
        else:
            mask = depth > FARTHEST_SHARE * depth.max()
            depth = (1 / depth).where(mask, torch.inf)
        intrinsics = assumed_intrinsics(height, width, region).to(depth.device)
        return DepthEstimate(depth, mask, intrinsics)


def load_depth_anything(
    checkpoint_dir: Path | str, device: torch.device | str = "cpu"
) -> DepthAnything:
    """The network in `depth_anything/` of the checkpoint folder, else the published small one.

    Raises `InputError` for weights that are neither there nor on the hub, or that do not fit the
    network.
    """
    from transformers import DepthAnythingForDepthEstimation

    folder = search_checkpoint("depth_anything", checkpoint_dir)
    if folder is None:
        words = "no depth_anything/ in %s: fetching %s from the hub (0.1 GB); `%s` keeps it there"
        LOGGER.info(words, checkpoint_dir, REPOSITORY, FETCH)
    source = str(folder or REPOSITORY)
    try:
        loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
            source, output_loading_info=True
        )
    # An OSError if offline or without such a repository, the others for damaged files.
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(source, error, f"weights; `{FETCH}` fetches them") from error
    network, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(source, f"no tensor {missing[0]}", "all tensors of the network")
    return DepthAnything(network, device)


def working_size(height: int, width: int, patch: int = 14) -> tuple[int, int]:
    """The network's input size for a picture: its shape, sides that are multiples of `patch`."""
    scale = min(SHORTER_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    rows, columns = (max(round(side * scale / patch), 1) * patch for side in (height, width))
    return rows, columns
