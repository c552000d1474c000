"""Rays and times as latents: Pluecker maps and time maps go through the video encoder.

A Pluecker map is `(o x d, d)`, moment first; the two halves are encoded as two "videos" and their
latents concatenated. A time tau in [0, 1] becomes the constant "colour"
`2 * (tau, cos tau, sin tau) - 1`. Latents of both are raw, never normalised.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.rays import Precision, pluecker
from .kept import Kept

Encode = Callable[[Tensor], Tensor]
# For encoded times: those of 121 frames of full size, and the sources of some clips.
TIME_BYTES = 1 << 28


def encode_pluecker(
    encode: Encode, cameras: Cameras, precision: Precision = "fp32"
) -> Float[Tensor, "latent_frame twice_channel lh lw"]:
    """Latents of one trajectory's Pluecker maps, moment channels before direction channels.

    Args:
        encode: video `[1, 3, frame, h, w]` to raw latent `[1, channel, latent_frame, lh, lw]`.
        cameras: the frames of one trajectory, at picture size, relative to the reference frame.
        precision: arithmetic of the rays; `parity` is the published bfloat16 order.
    """
    maps = pluecker(cameras, precision).transpose(0, 1)
    # One half at a time: a half of a full-size trajectory is 1.3 GB, its encoding 14 MB.
    latents = [encode(half[None])[0] for half in maps.split(3)]
    return torch.cat(latents).transpose(0, 1)


def encode_plueckers(
    encode: Encode, cameras: Cameras, precision: Precision = "fp32"
) -> Float[Tensor, "traj latent_frame twice_channel lh lw"]:
    """The same of several trajectories at once, for those that fit the memory.

    Args:
        encode: videos to raw latents, a batch of them.
        cameras: (trajectory, frame), at picture size, relative to the reference frame.
        precision: as of `encode_pluecker`.
    """
    maps = pluecker(cameras, precision).transpose(1, 2)
    latents = encode(maps.unflatten(1, (2, 3)).flatten(0, 1))
    return latents.unflatten(0, (-1, 2)).flatten(1, 2).transpose(1, 2)


def time_vector(times: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """`(tau, cos tau, sin tau)` of times tau."""
    return torch.stack([times, times.cos(), times.sin()], dim=-1)


class TimeEncoder:
    """Encodes source and target times, clips that come again once.

    The source times of a clip are mostly the same for every scene and the target times are as many
    as the clip has frames, so both are kept: 0.5 MB a target time at full size.
    """

    def __init__(
        self,
        encode: Encode,
        height: int,
        width: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Encode with `encode` at `height` x `width`; time maps are rounded to `dtype` first."""
        self._encode, self._size = encode, (height, width)
        self._dtype, self._device = dtype, device
        self._kept = Kept(TIME_BYTES)

    def __call__(self, times: Sequence[float]) -> Float[Tensor, "latent_frame channel lh lw"]:
        """Latents of a clip whose frames lie at `times`, each in [0, 1]."""
        key = tuple(float(time) for time in times)
        found = self._kept.get(key)
        if found is None:
            vectors = time_vector(torch.tensor(key, device=self._device)).to(self._dtype)
            colors = (2 * vectors - 1).T[None, :, :, None, None]
            video = colors.expand(-1, -1, -1, *self._size).contiguous()
            found = self._encode(video)[0].transpose(0, 1)
            self._kept.add(key, found)
        return found

    def source_and_target(
        self, source_times: Sequence[float], target_time: float
    ) -> Float[Tensor, "latent_frame_and_one channel lh lw"]:
        """Latents of the source clip, then of the one-frame clip at `target_time`."""
        return torch.cat([self(source_times), self([target_time])])
