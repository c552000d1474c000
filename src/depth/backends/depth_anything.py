"""Depth Anything V2 through transformers: pictures in [0, 1] to depth and valid pixels.

The metric models give depth; the relative ones give inverse depth of unknown scale, where 0 is
infinitely far.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...checkpoints import search_checkpoint
from ...runtime import InputError, get_logger

LOGGER = get_logger(__name__)
FETCH = "python scripts/download_checkpoints.py --what depth_anything"
REPOSITORY = "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"
# The network was trained with a shorter side of 518 pixels, 37 patches of 14.
SHORTER_SIDE, LONGEST_SIDE = 518, 2072
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Inverse depth below this share of the nearest pixel's is taken for the sky.
FARTHEST_SHARE = 0.01


class DepthAnythingModel(nn.Module):
    """The network, with the preparation of pictures that it was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        """`network` is transformers' `DepthAnythingForDepthEstimation`."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(
        self, image: Float[Tensor, "3 h w"]
    ) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
        """Depth of a picture, and where it is known."""
        config: Any = self.network.config
        height, width = image.shape[1:]
        size = working_size(height, width, config.patch_size)
        values = F.interpolate(image[None], size, mode="bicubic", antialias=True)
        predicted = self.network(pixel_values=(values - self.mean) / self.std).predicted_depth
        resized = F.interpolate(
            predicted[:, None].float(), (height, width), mode="bilinear", align_corners=False
        )[0, 0]
        if config.depth_estimation_type == "metric":
            return resized, resized > 0
        valid = resized > FARTHEST_SHARE * resized.max()
        return (1 / resized).where(valid, torch.inf), valid


def load_depth_anything(
    checkpoint_dir: Path | str, device: torch.device | str = "cpu"
) -> DepthAnythingModel:
    """The network in `depth_anything/` of the checkpoint folder, else the published small one.

    Raises:
        InputError: weights that are neither there nor on the hub, or that do not fit the network.
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
    # Offline, or no such repository: an OSError. Damaged files: either of the others.
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(source, error, f"weights; `{FETCH}` fetches them") from error
    network, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(source, f"no tensor {missing[0]}", "all tensors of the network")
    return DepthAnythingModel(network).to(device).eval()


def working_size(height: int, width: int, patch: int = 14) -> tuple[int, int]:
    """The size at which a picture is looked at: its shape, sides that are multiples of `patch`."""
    scale = min(SHORTER_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    rows, columns = (max(round(side * scale / patch), 1) * patch for side in (height, width))
    return rows, columns
