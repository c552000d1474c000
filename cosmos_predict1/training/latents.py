"""Clips as the network is trained on them: encoded once, then kept in memory.

Latents are normalised and kept as half floats, whose 11 bits are more than enough for values about
0.5.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from src.runtime import InputError, rank
from src.tokenizer.cosmos import VideoTokenizer

from ..diffusion.conditioning.cache import CacheSettings, Warps
from ..diffusion.conditioning.latents import buffer_latents, latent_encoder, pad_buffers
from .sources import SourcedClips, disturbed, unit_video, warp_clips


@dataclass(frozen=True)
class LatentBatch:
    """Clips and the latents of their warps, with zeros for missing buffers.

    `number` is that of the batch in its training, from 0.
    """

    latents: Float[Tensor, "clip channel latent_frame lh lw"]
    warps: Float[Tensor, "clip warp_channel latent_frame lh lw"]
    keys: list[str]
    number: int = 0


@dataclass(frozen=True)
class LatentClips:
    """All clips of a process, with the latents of one buffer of warps."""

    latents: Float16[Tensor, "clip channel latent_frame lh lw"]
    warps: Float16[Tensor, "clip buffer_channel latent_frame lh lw"]
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def batch(
        self, chosen: Int[Tensor, " clip"], warp_channels: int, device: torch.device
    ) -> LatentBatch:
        """Returns the clips `chosen` (an index on the CPU) in float32 on `device`.

        Warps are padded to `warp_channels`. The call does not wait for the GPU.
        """
        keys = [self.keys[place] for place in chosen.tolist()]
        on_cuda = self.latents.device.type == "cuda"
        index = chosen.pin_memory() if on_cuda else chosen
        index = index.to(self.latents.device, non_blocking=True)
        latents, warps = (
            part[index].to(device, non_blocking=True).float() for part in (self.latents, self.warps)
        )
        return LatentBatch(latents, pad_buffers(warps, warp_channels), keys)


@dataclass(frozen=True)
class EncodedClips:
    """Clips with their warps as pictures and as latents."""

    clips: SourcedClips
    warps: Warps
    latents: LatentClips


class ClipEncoder:
    """Makes warps of clips and encodes both with the tokenizer."""

    def __init__(
        self, tokenizer: VideoTokenizer, settings: CacheSettings, depth_noise: float, seed: int
    ) -> None:
        """Disturb depth by `depth_noise` with random fields of `seed`; see `disturbed`."""
        self.tokenizer, self.settings, self.depth_noise = tokenizer, settings, depth_noise
        self.generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def __call__(self, clips: SourcedClips) -> EncodedClips:
        """Returns the clips, their warps and the latents of both."""
        depth = disturbed(clips.depth, self.depth_noise, self.generator)
        warps = warp_clips(replace(clips, depth=depth), self.settings)
        encode = latent_encoder(self.tokenizer)
        latents = encode(unit_video(clips.video).transpose(1, 2))
        seen = buffer_latents(encode, warps.image, warps.mask)
        return EncodedClips(clips, warps, LatentClips(latents.half(), seen.half(), clips.keys))


def encode_all(
    parts: Iterator[SourcedClips], encoder: ClipEncoder, storage: torch.device
) -> LatentClips:
    """Returns the latents of all clips on `storage`; the pictures of a part are freed with it.

    Raises:
        InputError: no clips.
    """
    found: list[LatentClips] = []
    for part in parts:
        latents = encoder(part).latents
        found.append(
            LatentClips(latents.latents.to(storage), latents.warps.to(storage), latents.keys)
        )
    if not found:
        expected = "at least one for each process"
        raise InputError(f"clips of process {rank()} to learn from", 0, expected)
    # Copies outside of inference mode: a backward pass cannot save inference tensors.
    return LatentClips(
        torch.cat([part.latents for part in found]),
        torch.cat([part.warps for part in found]),
        tuple(key for part in found for key in part.keys),
    )


class LatentBatches:
    """Endless batches of the clips in random order, each clip once an epoch."""

    def __init__(
        self,
        clips: LatentClips,
        batch_size: int,
        warp_channels: int,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        """Begin at the first batch; `seed` gives the order of each epoch."""
        assert len(clips) > 0 and batch_size > 0, f"{len(clips)} clips, batches of {batch_size}"
        self.clips, self.batch_size, self.seed = clips, batch_size, seed
        self.warp_channels, self.device = warp_channels, device
        self.position = 0
        self._orders: dict[int, Tensor] = {}

    def __iter__(self) -> Generator[LatentBatch, None, None]:
        """Yield the batches from `position` on."""
        while True:
            first = self.position * self.batch_size
            items = range(first, first + self.batch_size)
            chosen = torch.stack([self._item(number) for number in items])
            batch = self.clips.batch(chosen, self.warp_channels, self.device)
            self.position += 1
            yield replace(batch, number=self.position - 1)

    def _item(self, number: int) -> Int[Tensor, ""]:
        """Returns the clip at a place of the endless sequence of epochs."""
        epoch, place = divmod(number, len(self.clips))
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed((self.seed + epoch) % 2**32)
            order = torch.randperm(len(self.clips), generator=generator)
            # A batch may begin in the epoch before.
            self._orders = {key: self._orders[key] for key in self._orders if key == epoch - 1}
            self._orders[epoch] = order
        return self._orders[epoch][place]
