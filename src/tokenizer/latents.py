"""Rays and times as latents: Pluecker maps and time maps go through the video encoder.

A Pluecker map is `(o x d, d)`, moment first; its two halves are encoded as two videos, and their
latents concatenated. A time tau in [0, 1] becomes the constant colour
`2 * (tau, cos tau, sin tau) - 1`. Latents of both are raw, never normalised.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.rays import Precision, pluecker
from .cosmos import PIXELS_AT_ONCE, clips_at_once

Encode = Callable[[Tensor], Tensor]
# Room for encoded times: 121 target times at full size, and the source times of some clips.
TIME_BYTES = 1 << 28
Key = tuple[bytes, int, int, int]


class TensorCache:
    """An LRU cache of tensors by key."""

    def __init__(self, most_bytes: int) -> None:
        """An empty cache of at most `most_bytes`."""
        self.most_bytes, self.bytes = most_bytes, 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, key: Hashable) -> Float[Tensor, "*shape"] | None:
        """The tensor of this key, if the cache has it."""
        if key in self._tensors:
            self._tensors.move_to_end(key)
        return self._tensors.get(key)

    def add(self, key: Hashable, tensor: Float[Tensor, "*shape"]) -> None:
        """Add a tensor under a new key, unless it is larger than the cache.

        A part of a larger tensor must be a copy, or the larger one stays in memory.
        """
        assert key not in self._tensors, f"in the cache already: {key!r}"
        if tensor.nbytes > self.most_bytes:
            return
        self._tensors[key] = tensor
        self.bytes += tensor.nbytes
        while self.bytes > self.most_bytes:
            _, oldest = self._tensors.popitem(last=False)
            self.bytes -= oldest.nbytes


def encode_pluecker(
    encode: Encode, cameras: Cameras, precision: Precision = "fp32"
) -> Float[Tensor, "latent_frame twice_channel lh lw"]:
    """Latents of one trajectory's Pluecker maps, moment channels before direction channels.

    `encode` maps videos `[clip, 3, frame, h, w]` to raw latents. Cameras are at picture size,
    relative to the reference frame; the precision `parity` is the published bfloat16 order.
    """
    maps = pluecker(cameras, precision).transpose(0, 1)
    # One half at a time: a half of a full-size trajectory is 1.3 GB, its encoding 14 MB.
    latents = [encode(half[None])[0] for half in maps.split(3)]
    return torch.cat(latents).transpose(0, 1)


def encode_plueckers(
    encode: Encode, cameras: Cameras, precision: Precision = "fp32"
) -> Float[Tensor, "traj latent_frame twice_channel lh lw"]:
    """`encode_pluecker` of several short trajectories at once; cameras are (trajectory, frame)."""
    maps = pluecker(cameras, precision).transpose(1, 2)
    latents = encode(maps.unflatten(1, (2, 3)).flatten(0, 1))
    return latents.unflatten(0, (-1, 2)).flatten(1, 2).transpose(1, 2)


def time_vector(times: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """`(tau, cos tau, sin tau)` of times tau."""
    return torch.stack([times, times.cos(), times.sin()], dim=-1)


class TimeEncoder:
    """Encodes source and target times, and caches the latents: 0.5 MB a target time at full size.

    Most scenes have the same source times, and as many target times as a clip has frames.
    """

    def __init__(
        self,
        encode: Encode,
        size: tuple[int, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Encode at `size` (height, width); time maps are rounded to `dtype` first."""
        self._encode, self._size = encode, size
        self._dtype, self._device = dtype, device
        self._cache = TensorCache(TIME_BYTES)

    def __call__(self, times: Sequence[float]) -> Float[Tensor, "latent_frame channel lh lw"]:
        """Latents of a clip whose frames lie at `times`, each in [0, 1]."""
        key = tuple(float(time) for time in times)
        found = self._cache.get(key)
        if found is None:
            vectors = time_vector(torch.tensor(key, device=self._device)).to(self._dtype)
            colors = (2 * vectors - 1).T[None, :, :, None, None]
            video = colors.expand(-1, -1, -1, *self._size).contiguous()
            found = self._encode(video)[0].transpose(0, 1)
            self._cache.add(key, found)
        return found


class PlueckerEncoder:
    """Encodes the Pluecker maps of trajectories, short ones together, and caches the latents.

    A training sees each trajectory many times. A cached latent equals, bit for bit, a new one.
    """

    def __init__(self, encode: Encode, precision: Precision = "fp32", keep_bytes: int = 0) -> None:
        """Cache up to `keep_bytes` of the latents of `encode` (videos to raw latents)."""
        self._encode = encode
        self._precision: Precision = precision
        self.kept = TensorCache(keep_bytes)
        # The number of trajectories that are encoded together, by frames, height and width.
        self._groups: dict[tuple[int, ...], int] = {}

    def __call__(
        self, cameras: Cameras, device: torch.device
    ) -> Float[Tensor, "traj latent_frame twice_channel lh lw"]:
        """Latents as of `encode_pluecker` on `device`.

        The cameras (trajectory, frame) are best on the CPU, where reading their values is fast.
        """
        if not self.kept.most_bytes:
            cameras, most = cameras.to(device), clips_at_once(_pixels(cameras))
            parts = [cameras[at : at + most] for at in range(0, len(cameras), most)]
            return torch.cat([self._together(part) for part in parts])
        keys = [_key(cameras[index]) for index in range(len(cameras))]
        found = {key: self.kept.get(key) for key in keys}
        places = {key: index for index, key in enumerate(keys) if found[key] is None}
        found |= self._new(cameras, places, device) if places else {}
        tensors = [found[key] for key in keys]
        return torch.stack([tensor for tensor in tensors if tensor is not None])

    def _new(
        self, cameras: Cameras, places: dict[Key, int], device: torch.device
    ) -> dict[Key, Tensor]:
        """The latents of the trajectories at `places`, now in the cache."""
        size = self._group_size(cameras, device)
        made, wanted = {}, [*places.items()]
        for at in range(0, len(wanted), size):
            group = wanted[at : at + size]
            # Always the same number: the size decides on kernels, and so on roundings.
            rows = [index for _, index in group]
            rows += rows[:1] * (size - len(rows))
            latents = self._together(cameras[torch.tensor(rows)].to(device))
            made |= {key: latents[row].clone() for row, (key, _) in enumerate(group)}
        for key, latent in made.items():
            self.kept.add(key, latent)
        return made

    def _together(self, cameras: Cameras) -> Float[Tensor, "traj latent_frame _ lh lw"]:
        """All trajectories in one call, a long one in two halves."""
        if len(cameras) > 1 or _pixels(cameras) <= PIXELS_AT_ONCE:
            return encode_plueckers(self._encode, cameras, self._precision)
        return encode_pluecker(self._encode, cameras[0], self._precision)[None]

    def _group_size(self, cameras: Cameras, device: torch.device) -> int:
        """The number of trajectories that can be encoded together with the same latents."""
        clip = (cameras.c2w.shape[1], cameras.height, cameras.width)
        if clip not in self._groups:
            # A CPU gains nothing from full groups.
            most = 1 if device.type == "cpu" else clips_at_once(_pixels(cameras))
            if most > 1 and not self._is_alone_in(2 * most, clip, device):
                most = 1
            self._groups[clip] = most
        return self._groups[clip]

    def _is_alone_in(self, number: int, clip: tuple[int, ...], device: torch.device) -> bool:
        """Whether `number` clips have the same latents, bit for bit, at another place."""
        generator = torch.Generator(device).manual_seed(0)
        videos = 2 * torch.rand((number, 3, *clip), generator=generator, device=device) - 1
        return torch.equal(self._encode(videos), self._encode(videos.flip(0)).flip(0))


def _key(cameras: Cameras) -> Key:
    """A digest of the inputs of one trajectory's latents."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (cameras.c2w, cameras.intrinsics):
        digest.update(part.contiguous().cpu().numpy().tobytes())
    return digest.digest(), len(cameras), cameras.height, cameras.width


def _pixels(cameras: Cameras) -> int:
    """The number of pixels in both halves of a trajectory's maps."""
    return 2 * cameras.c2w.shape[-3] * cameras.height * cameras.width
