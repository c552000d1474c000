"""The sizes of the video autoencoder's network."""

import math
from dataclasses import dataclass

from ..runtime import InputError


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of the network, by diffusers' names; the defaults are those of the published one.

    Raises `InputError` for what this network does not have: attention outside of its middle, which
    `attention_resolutions` would ask for, and patches other than Haar wavelets.
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 16
    encoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    decode_block_out_channels: tuple[int, ...] = (256, 512, 512, 512)
    attention_resolutions: tuple[int, ...] = (32,)
    resolution: int = 1024
    num_layers: int = 2
    patch_size: int = 4
    patch_type: str = "haar"
    scaling_factor: float = 1.0
    spatial_compression_ratio: int = 8
    temporal_compression_ratio: int = 8

    def __post_init__(self) -> None:
        if self.patch_type != "haar":
            raise InputError("patch_type", repr(self.patch_type), "'haar'")
        powers = {1 << n for n in range(1, 8)}
        ratios = (self.spatial_compression_ratio, self.temporal_compression_ratio)
        if (
            self.patch_size not in powers
            or not {*ratios} <= powers
            or min(ratios) < self.patch_size
        ):
            value = f"patch_size {self.patch_size}, compression {ratios}"
            raise InputError("video autoencoder", value, "powers of two, none below the patch")
        stages = max(len(self.encoder_block_out_channels), len(self.decode_block_out_channels)) - 1
        sides = {self.resolution // self.patch_size // 2**n for n in range(stages)}
        if sides & {*self.attention_resolutions}:
            value = f"{self.attention_resolutions} of {self.resolution}"
            raise InputError("attention_resolutions", value, "no attention outside of the middle")

    @property
    def halvings(self) -> tuple[int, int]:
        """How often the stages halve rows and columns, and frames."""
        patch = round(math.log2(self.patch_size))
        space, time = self.spatial_compression_ratio, self.temporal_compression_ratio
        return round(math.log2(space)) - patch, round(math.log2(time)) - patch
