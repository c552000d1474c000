"""The causal video autoencoder: 8x8x8 compression, 16 channels; and the statistics of its latents.

A video is `[clip, 3, frame, height, width]` in [-1, 1] with 8k + 1 frames; a raw latent is
`[clip, channel, latent_frame, height/8, width/8]` with k + 1 latent frames.

Statistics normalise raw latents for the diffusion model: `SIGMA_DATA * (raw - mean) / std`. Means
and standard deviations are [channel, latent_frame]; a shorter clip uses the first of them. On disk
they are a published `mean_std.pt`, or numbers of a diffusers config.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..checkpoints.archive import open_torch_file
from ..checkpoints.kinds import check_weights_file
from ..checkpoints.unpickler import StoredTensor
from ..io.json_object import is_number
from ..runtime import InputError
from .architecture import Architecture
from .network import Autoencoder

SIGMA_DATA = 0.5
STATISTICS_NAME = "mean_std.pt"
# Their names in a diffusers config.
STATISTICS = ("latents_mean", "latents_std")
EXPECTED = "latent statistics: two tensors (mean, std)"
COMPRESSION = 8
# The pixels of short clips that go through the networks together. A full-size clip (109 million)
# goes alone.
PIXELS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of raw latents, by channel and latent frame."""

    mean: Float[Tensor, "channel latent_frame"]
    std: Float[Tensor, "channel latent_frame"]

    @property
    def max_latent_frames(self) -> int:
        """Longest clip, in latent frames, that the statistics cover."""
        return self.mean.shape[1]

    def normalise(
        self, raw: Float[Tensor, "*batch channel latent_frame lh lw"]
    ) -> Float[Tensor, "*batch channel latent_frame lh lw"]:
        """Latents of the diffusion model, standard deviation about 0.5, float32."""
        mean, std = self._of(raw.shape[-3])
        return SIGMA_DATA * (raw.float() - mean) / std

    def denormalise(
        self, latent: Float[Tensor, "*batch channel latent_frame lh lw"]
    ) -> Float[Tensor, "*batch channel latent_frame lh lw"]:
        """The inverse of `normalise`."""
        mean, std = self._of(latent.shape[-3])
        return latent.float() / SIGMA_DATA * std + mean

    def _of(self, count: int) -> tuple[Tensor, Tensor]:
        if count > self.max_latent_frames:
            expected = f"at most {self.max_latent_frames}, which the statistics cover"
            raise InputError("latent frames", count, expected)
        shape = (-1, count, 1, 1)
        return self.mean[:, :count].reshape(shape), self.std[:, :count].reshape(shape)


class Moments(NamedTuple):
    """Mean and standard deviation of each channel."""

    mean: Float[Tensor, "*channel"]
    std: Float[Tensor, "*channel"]


def moments(parts: Iterable[Float[Tensor, "..."]], dims: tuple[int, ...], least: float) -> Moments:
    """Returns the moments over `dims` of all parts, summed in float64; deviations from `least`."""
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for part in parts:
        part = part.double()
        total = total.to(part) + part.sum(dim=dims)
        squares = squares.to(part) + (part * part).sum(dim=dims)
        count += part.numel() // total.numel()
    assert count > 0, "moments of nothing"
    mean = total / count
    std = (squares / count - mean * mean).clamp_min(least**2).sqrt()
    return Moments(mean.float(), std.float())


def read_mean_std(path: Path, channels: int = 16) -> LatentStatistics:
    """The statistics in a published `mean_std.pt`; `InputError` if there are none."""
    check_weights_file(path, EXPECTED)
    file = open_torch_file(path)
    parts = file.value if isinstance(file.value, (list, tuple)) else []
    if len(parts) != 2 or not all(isinstance(part, StoredTensor) for part in parts):
        raise InputError(path, f"a {type(file.value).__name__}", EXPECTED)
    mean, std = (file.tensor(part) for part in parts)
    if not (mean.is_floating_point() and std.is_floating_point()):
        raise InputError(path, f"numbers of type {mean.dtype} and {std.dtype}", EXPECTED)
    return _checked(path, mean.float(), std.float(), channels=channels)


def statistics_from_config(path: Path, config: Mapping[str, Any]) -> LatentStatistics:
    """The statistics in a diffusers config that was read from `path`; `InputError` if none."""
    lists = [config.get(name) for name in STATISTICS]
    if not all(isinstance(part, list) for part in lists):
        raise InputError(path, "no latents_mean and latents_std", "two lists of numbers")
    mean, std = ([value for value in part or []] for part in lists)
    if not all(map(is_number, [*mean, *std])):
        raise InputError(path, "statistics that are no numbers", "two lists of numbers")
    channels = config.get("latent_channels", 16)
    if type(channels) is not int or channels < 1:
        raise InputError(path, f"latent_channels = {channels!r}", "a number of channels")
    means, deviations = (torch.tensor([float(v) for v in part]) for part in (mean, std))
    return _checked(path, means, deviations, channels=channels)


def _checked(
    path: Path, mean: Float[Tensor, "..."], std: Float[Tensor, "..."], channels: int
) -> LatentStatistics:
    if mean.numel() != std.numel() or mean.numel() % channels or not mean.numel():
        value = f"{mean.numel()} means and {std.numel()} deviations"
        raise InputError(path, value, f"equally many, a multiple of {channels} channels")
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise InputError(path, "statistics that are not finite and positive", "std > 0")
    return LatentStatistics(mean.reshape(channels, -1), std.reshape(channels, -1))


def latent_frames(num_frames: int) -> int:
    """Number of latent frames of 8k + 1 frames; `InputError` for other numbers."""
    if num_frames < 1 or (num_frames - 1) % COMPRESSION:
        raise InputError("number of frames", num_frames, f"{COMPRESSION}k + 1")
    return (num_frames - 1) // COMPRESSION + 1


class VideoTokenizer(nn.Module):
    """Encodes videos to latents and decodes them; deterministic and causal in time."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: Mapping[str, object],
        mean: Float[Tensor, "channel latent_frame"],
        std: Float[Tensor, "channel latent_frame"],
    ) -> None:
        """An untrained tokenizer; `architecture` are fields of `Architecture`.

        Names with an underscore (diffusers' bookkeeping) and statistics are left out. Raises
        `InputError` for an architecture that this network does not have.
        """
        super().__init__()
        # The latent frames that large clips are worked on at a time, which takes little memory; 0
        # are all of them. The results are the same within rounding.
        self.latent_frames_at_once = 0
        left_out = ("_", *STATISTICS)
        self.architecture = {k: v for k, v in architecture.items() if not k.startswith(left_out)}
        sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in self.architecture.items()}
        self.autoencoder = Autoencoder(Architecture(**cast(Any, sizes)))
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("std", std.float(), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the convolutions."""
        return self.autoencoder.dtype

    def encode(
        self, video: Float[Tensor, "clip 3 frame h w"]
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """Raw latents of videos in [-1, 1], in the tokenizer's dtype."""
        _, _, frames, height, width = video.shape
        latent_frames(frames)
        if height % COMPRESSION or width % COMPRESSION:
            raise InputError("video size", f"{height}x{width}", f"multiples of {COMPRESSION}")
        pixels = frames * height * width
        groups = video.split(clips_at_once(pixels))
        at_once = 0 if pixels <= PIXELS_AT_ONCE else self.latent_frames_at_once
        return torch.cat([self.autoencoder.encode(group, at_once) for group in groups])

    def decode(
        self, latent: Float[Tensor, "clip channel latent_frame lh lw"]
    ) -> Float[Tensor, "clip 3 frame h w"]:
        """Videos, about [-1, 1] and not clamped, of raw latents."""
        pixels = latent[0, 0].numel() * COMPRESSION**3
        groups = [group.to(self.dtype) for group in latent.split(clips_at_once(pixels))]
        at_once = 0 if pixels <= PIXELS_AT_ONCE else self.latent_frames_at_once
        decoded = [self.autoencoder.decode(group, at_once) for group in groups]
        return torch.cat(decoded).to(self.dtype)

    @property
    def statistics(self) -> LatentStatistics:
        """The statistics of raw latents, on the tokenizer's device."""
        return LatentStatistics(self.mean, self.std)


def clips_at_once(pixels: int) -> int:
    """The number of clips of `pixels` that go through the networks together."""
    return max(PIXELS_AT_ONCE // pixels, 1)
