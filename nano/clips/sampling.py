"""Warps, samples and decodes many short clips as batches, where the commands do one by one.

A clip in a batch equals the clip alone, up to rounding. Latents are
`[clip, channel, latent_frame, lh, lw]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from src.io.image import to_uint8
from src.training.task import Stopwatch

# Clips that are sampled or decoded at once.
CLIPS_AT_ONCE = 48


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
def sample_clips(
    generator: Gen3C,
    starts: ClipStarts,
    texts: tuple[Context, Context],
    plan: SamplingPlan,
    clock: Stopwatch | None = None,
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Samples the latents of all clips in batches; times "encode" and "sample" with `clock`.

    Each clip has the noise of its own seed, which it would have alone.
    """
    clock, encode = clock or Stopwatch(), latent_encoder(generator.tokenizer)
    latents = []
    for at in range(0, len(plan.seeds), CLIPS_AT_ONCE):
        some = slice(at, at + CLIPS_AT_ONCE)
        with clock("encode"):
            first = encode(starts.first[some, :, None].to(generator.device))
            warps = buffer_latents(encode, starts.image[some], starts.mask[some])
            # The other buffers are zeros.
            warps = pad_buffers(warps, generator.network.config.warp_channels)
        own = replace(plan, seeds=plan.seeds[some])
        with clock("sample"):
            latents.append(sample_latents(generator.network, first, warps, texts=texts, plan=own))
    return torch.cat(latents)


@torch.inference_mode()
def decode_clips(
    generator: Gen3C, latents: Float[Tensor, "clip channel latent_frame lh lw"]
) -> UInt8[Tensor, "clip frame h w 3"]:
    """Decodes latents into frames, on the device."""
    parts = [decode_latents(generator.tokenizer, part) for part in latents.split(CLIPS_AT_ONCE)]
    return torch.cat([to_uint8(part.permute(0, 2, 3, 4, 1)) for part in parts])
