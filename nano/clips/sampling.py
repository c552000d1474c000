"""Warps, samples and decodes many short clips as batches, where the commands do one by one.

A clip in a batch equals the clip alone, up to rounding. Latents are
`[clip, channel, latent_frame, lh, lw]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings, PointCache
from cosmos_predict1.diffusion.conditioning.latents import (
    buffer_latents,
    latent_encoder,
    pad_buffers,
)
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C
from cosmos_predict1.diffusion.sampling.recipe import (
    Context,
    SamplingPlan,
    decode_latents,
    sample_latents,
)
from cosmos_predict1.diffusion.scenes.scene import Scene
from cosmos_predict1.diffusion.scenes.shots import Rig
from cosmos_predict1.training.sources import paired_frames
from src.io.image.pixels import to_uint8
from src.training.task import Stopwatch

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
        sources = sources.apply(lambda part: part[frames])
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
    latents = buffer_latents(encode, starts.image, starts.mask)
    return first, pad_buffers(latents, generator.network.config.warp_channels)


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
        # Each clip has the noise that it would have alone.
        sampling = SamplingPlan(
            num_steps=plan.num_steps, guidance=plan.guidance, fps=plan.fps, seeds=part.seeds
        )
        with clock("sample"):
            sampled = sample_latents(generator.network, first, warps, texts=texts, plan=sampling)
        latents.append(sampled)
    return torch.cat(latents)


@torch.inference_mode()
def decode_clips(
    generator: Gen3C, latents: Float[Tensor, "clip channel latent_frame lh lw"]
) -> UInt8[Tensor, "clip frame h w 3"]:
    """Decodes latents into frames, on the device."""
    parts = [decode_latents(generator.tokenizer, part) for part in latents.split(DECODED_AT_ONCE)]
    return torch.cat([to_uint8(part.permute(0, 2, 3, 4, 1)) for part in parts])


def _part(starts: ClipStarts, index: Tensor) -> ClipStarts:
    some = slice(int(index[0]), int(index[-1]) + 1)
    return ClipStarts(starts.first[some], starts.image[some], starts.mask[some], starts.seeds[some])
