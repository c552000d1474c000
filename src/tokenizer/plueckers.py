"""A cache of encoded Pluecker maps.

They depend on poses, intrinsics and picture size only, and a training sees each trajectory many
times. A cached latent equals, bit for bit, a new encoding of the trajectory.
"""

import hashlib

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.cameras import Cameras
from ..geometry.rays import Precision
from .cosmos import PIXELS_AT_ONCE, clips_at_once
from .latents import Encode, TensorCache, encode_pluecker, encode_plueckers

Key = tuple[bytes, int, int, int]


class PlueckerEncoder:
    """Encodes the Pluecker maps of trajectories, short ones together, and caches the latents."""

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
