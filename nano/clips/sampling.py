"""Warps, samples and decodes many short clips as batches, where the commands do one by one.

A clip in a batch equals the clip alone, up to rounding. Latents are
`[clip, channel, latent_frame, lh, lw]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings, PointCache
from cosmos_predict1.diffusion.conditioning.conditions import Conditions
from cosmos_predict1.diffusion.conditioning.latents import (
    condition_mask,
    latent_encoder,
    mask_video,
)
from cosmos_predict1.diffusion.model.denoiser import Denoiser, guided
from cosmos_predict1.diffusion.sampling.pipeline import Context, Gen3C
from cosmos_predict1.diffusion.sampling.sampler import sample
from cosmos_predict1.diffusion.sampling.schedule import condition_noise, initial_noise, noise_levels
from cosmos_predict1.diffusion.scenes.scene import Scene
from cosmos_predict1.diffusion.scenes.shots import Rig
from cosmos_predict1.training.sources import paired_frames
from src.io.image.pixels import to_uint8
from src.training.stopwatch import Stopwatch

# Clips that are decoded at once.
DECODED_AT_ONCE = 48


@dataclass(frozen=True)
class ClipStarts:
    """The input of clips: first frames, warps with their masks, seeds of the noise."""

    first: Float[Tensor, "clip 3 h w"]
    image: Float[Tensor, "clip frame 3 h w"]
    mask: Bool[Tensor, "clip frame h w"]
    seeds: tuple[int, ...]

    @staticmethod
    def concatenate(parts: "Sequence[ClipStarts]") -> "ClipStarts":
        """Joins the clips of `parts`."""
        return ClipStarts(
            torch.cat([part.first for part in parts]),
            torch.cat([part.image for part in parts]),
            torch.cat([part.mask for part in parts]),
            tuple(seed for part in parts for seed in part.seeds),
        )


@dataclass(frozen=True)
class BatchPlan:
    """The settings of sampling: steps, guidance, frame rate, clips of a batch."""

    num_steps: int
    guidance: float
    fps: float
    at_once: int = 48


@torch.inference_mode()
def scene_starts(
    scene: Scene, rigs: Sequence[Rig], seeds: Sequence[int], settings: CacheSettings
) -> ClipStarts:
    """Warps one scene to the cameras of some trajectories, equally long."""
    count, paths = len(rigs[0]), len(rigs)
    assert all(len(rig) == count for rig in rigs) and len(seeds) == paths, f"{paths} trajectories"
    order = paired_frames(count, scene.first_frame.device)
    sources = scene.sources
    if scene.moving:
        frames = order.repeat(paths)
        mask = None if sources.mask is None else sources.mask[frames]
        sources = replace(
            sources,
            image=sources.image[frames],
            depth=sources.depth[frames],
            intrinsics=sources.intrinsics[frames],
            w2c=sources.w2c[frames],
            mask=mask,
        )
    cache = PointCache(sources, settings, moving=scene.moving)
    intrinsics = torch.cat([rig.intrinsics[order] for rig in rigs])
    warps = cache.render(intrinsics, torch.cat([rig.w2c[order] for rig in rigs]))
    image, mask = (
        part[0].unflatten(0, (paths, -1))[:, :count] for part in (warps.image, warps.mask)
    )
    first = scene.first_frame.expand(paths, -1, -1, -1)
    return ClipStarts(first, image, mask, tuple(seeds))


@torch.inference_mode()
def condition_clips(
    generator: Gen3C, starts: ClipStarts
) -> tuple[
    Float[Tensor, "clip channel 1 lh lw"], Float[Tensor, "clip warp_channel latent_frame lh lw"]
]:
    """Returns latents of first frames, and of warps and masks (one buffer, others zero)."""
    encode = latent_encoder(generator.tokenizer)
    first = encode(starts.first[:, :, None].to(generator.device))
    known = encode(mask_video(starts.mask, starts.image.dtype))
    latents = torch.cat([encode(starts.image.transpose(1, 2).contiguous()), known], dim=1)
    missing = generator.network.config.warp_channels - latents.shape[1]
    return first, F.pad(latents, (0, 0, 0, 0, 0, 0, 0, missing))


@torch.inference_mode()
def sample_clips(
    generator: Gen3C,
    starts: ClipStarts,
    texts: tuple[Context, Context],
    plan: BatchPlan,
    clock: Stopwatch | None = None,
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Samples the latents of all clips in batches; times "encode" and "sample" with `clock`."""
    clock = clock or Stopwatch()
    latents = []
    for index in torch.arange(len(starts.seeds)).split(plan.at_once):
        part = _part(starts, index)
        with clock("encode"):
            first, warps = condition_clips(generator, part)
        with clock("sample"):
            latents.append(_sample(generator, first, warps, part.seeds, texts, plan))
    return torch.cat(latents)


@torch.inference_mode()
def decode_clips(
    generator: Gen3C, latents: Float[Tensor, "clip channel latent_frame lh lw"]
) -> UInt8[Tensor, "clip frame h w 3"]:
    """Decodes latents into frames, on the device."""
    tokenizer = generator.tokenizer
    parts = [
        tokenizer.decode(tokenizer.denormalise(part)) for part in latents.split(DECODED_AT_ONCE)
    ]
    return torch.cat([to_uint8(part.permute(0, 2, 3, 4, 1)) for part in parts])


def _part(starts: ClipStarts, index: Tensor) -> ClipStarts:
    some = slice(int(index[0]), int(index[-1]) + 1)
    return ClipStarts(starts.first[some], starts.image[some], starts.mask[some], starts.seeds[some])


def _sample(
    generator: Gen3C,
    first: Float[Tensor, "clip channel 1 lh lw"],
    warps: Float[Tensor, "clip warp_channel latent_frame lh lw"],
    seeds: Sequence[int],
    texts: tuple[Context, Context],
    plan: BatchPlan,
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """One batch, with the noise that each clip would have alone."""
    count, device = len(warps), generator.device
    shape = (1, generator.network.config.out_channels, *warps.shape[2:])
    given = torch.cat([condition_noise(shape, seed)[:, :, :1] for seed in seeds])
    noise = torch.cat([initial_noise(shape, seed) for seed in seeds]).to(device)
    positive, negative = (text.to(device).expand(count, -1, -1) for text in texts)
    mask = condition_mask(warps[:1]).expand(count, -1, -1, -1, -1)
    conditions = Conditions(positive, mask, warps, plan.fps)
    predict = guided(generator.network, conditions, negative, plan.guidance)
    denoiser = Denoiser(predict, first, given.to(device))
    return sample(denoiser, noise, noise_levels(plan.num_steps), None, denoiser.constrain)
