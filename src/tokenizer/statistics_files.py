"""The latent statistics on disk: a published `mean_std.pt`, or numbers of a diffusers config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..checkpoints.archive import open_torch_file
from ..checkpoints.kinds import check_weights_file
from ..checkpoints.unpickler import StoredTensor
from ..io.json_object import is_number
from ..runtime import InputError

STATISTICS_NAME = "mean_std.pt"
EXPECTED = "latent statistics: two tensors (mean, std)"


def read_mean_std(path: Path, channels: int = 16) -> tuple[Tensor, Tensor]:
    """Latent mean and standard deviation `[channel, latent_frame]` of a published `mean_std.pt`.

    Raises:
        InputError: no such file, no two tensors, sizes or values that no statistics have.
    """
    check_weights_file(path, EXPECTED)
    file = open_torch_file(path)
    parts = file.value if isinstance(file.value, (list, tuple)) else []
    if len(parts) != 2 or not all(isinstance(part, StoredTensor) for part in parts):
        raise InputError(path, f"a {type(file.value).__name__}", EXPECTED)
    mean, std = (file.tensor(part) for part in parts)
    if not (mean.is_floating_point() and std.is_floating_point()):
        raise InputError(path, f"numbers of type {mean.dtype} and {std.dtype}", EXPECTED)
    return _check_statistics(path, mean.float(), std.float(), channels)


def statistics_from_config(path: Path, config: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Latent mean and standard deviation of a diffusers config (`latents_mean`, `latents_std`).

    Raises:
        InputError: they are not there, no numbers, or no statistics.
    """
    lists = config.get("latents_mean"), config.get("latents_std")
    if not all(isinstance(part, list) for part in lists):
        raise InputError(path, "no latents_mean and latents_std", "two lists of numbers")
    mean, std = ([value for value in part or []] for part in lists)
    if not all(map(is_number, [*mean, *std])):
        raise InputError(path, "statistics that are no numbers", "two lists of numbers")
    channels = config.get("latent_channels", 16)
    if type(channels) is not int or channels < 1:
        raise InputError(path, f"latent_channels = {channels!r}", "a number of channels")
    means, deviations = (torch.tensor([float(v) for v in part]) for part in (mean, std))
    return _check_statistics(path, means, deviations, channels)


def _check_statistics(
    path: Path, mean: Float[Tensor, "..."], std: Float[Tensor, "..."], channels: int
) -> tuple[Tensor, Tensor]:
    if mean.numel() != std.numel() or mean.numel() % channels or not mean.numel():
        value = f"{mean.numel()} means and {std.numel()} deviations"
        raise InputError(path, value, f"equally many, a multiple of {channels} channels")
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise InputError(path, "statistics that are not finite and positive", "std > 0")
    return mean.reshape(channels, -1), std.reshape(channels, -1)
