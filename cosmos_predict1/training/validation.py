"""Samples held-out clips, decodes them and compares them with the truth.

Figures are PSNR in dB, means over the clips. Pixels that the source shows are `visible`, pixels in
the holes of its warps `hidden`; hidden pixels are guessed, and no method can know them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from src.evaluation.hole_filling import fill_nearest
from src.evaluation.metrics import clip_errors
from src.io.image import to_uint8
from src.tokenizer.cosmos import VideoTokenizer
from src.training.task import Model, Share, Validation
from src.visualization import contact_sheet

from ..diffusion.sampling.recipe import SamplingPlan, decode_latents
from .latents import EncodedClips, LatentBatch

# Frames of a clip in the picture.
SHOWN = 3

Video = Float[Tensor, "clip 3 frame h w"]
Figures = dict[str, list[Float[Tensor, " clip"]]]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Samples held-out clips by `plan`, at each of `guidances`, and decodes them."""

    model: Model
    tokenizer: VideoTokenizer
    plan: SamplingPlan
    guidances: Sequence[float]
    warp_channels: int

    def latents(
        self, batch: LatentBatch, guidance: float
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """Returns new latents of a batch."""
        # Compiled blocks are for the sizes of the training.
        with torch.compiler.set_stance("force_eager"):
            terms = self.model(batch, sampling=replace(self.plan, guidance=guidance))
        return terms["latents"]

    def decode(self, latents: Float[Tensor, "clip channel latent_frame lh lw"]) -> Video:
        """Returns videos in [0, 1]."""
        return _unit(decode_latents(self.tokenizer, latents.float()))


def means(
    figures: Figures, count: int, picture: UInt8[Tensor, "h w 3"] | None = None
) -> Validation:
    """Returns each figure's mean over those of the `count` clips in which it is finite."""
    finite = {name: [part[part.isfinite()] for part in parts] for name, parts in figures.items()}
    counts = {name: sum(map(len, parts)) for name, parts in finite.items()}
    known = {name: number for name, number in counts.items() if number}
    sums = {name: sum(part.sum().item() for part in finite[name]) for name in known}
    return Validation(count, {name: sums[name] / known[name] for name in known}, picture, known)


@torch.no_grad()
def evaluate(
    sampler: Sampler, parts: Sequence[EncodedClips], share: Share, shown: int
) -> Validation:
    """Returns the figures of this process' parts, and a picture of its first `shown` clips."""
    drawn, count = [], 0
    figures: Figures = defaultdict(list)
    # Every process calls the model the same number of times; surplus results are dropped.
    for first in range(0, len(parts), share.world_size):
        number = first + share.rank
        encoded = parts[number % len(parts)]
        device = encoded.warps.image.device
        everything = torch.arange(len(encoded.clips))
        batch = encoded.latents.batch(everything, sampler.warp_channels, device)
        sampled = [sampler.latents(batch, guidance) for guidance in sampler.guidances]
        if number >= len(parts):
            continue
        true = encoded.clips.video.transpose(1, 2).float() / 255
        videos = [sampler.decode(latents) for latents in sampled]
        for guidance, video in zip(sampler.guidances[1:], videos[1:], strict=True):
            figures[f"psnr_guidance_{guidance:g}"].append(clip_errors(video, true).psnr())
        filled = fill_nearest(encoded.warps.image, encoded.warps.mask)
        compared = {
            "": videos[0],
            "tokenizer_": sampler.decode(batch.latents),
            # The simplest answer: holes take the colour of the nearest known pixel.
            "warp_": _unit(filled).transpose(1, 2),
        }
        for prefix, video in compared.items():
            _compare(figures, prefix, video, true, encoded.warps.mask)
        count += len(encoded.clips)
        drawn += list(_rows(encoded, videos[0]))[: max(shown - len(drawn), 0)]
    picture = torch.cat(drawn) if drawn else None
    return means(figures, count, picture)


def _compare(
    figures: Figures, prefix: str, video: Video, true: Video, mask: Bool[Tensor, "clip frame h w"]
) -> None:
    """Add the figures of some videos under names with `prefix`."""
    # The first frame is given, so it would only raise all figures.
    parts = {"": torch.ones_like(mask), "_visible": mask, "_hidden": ~mask}
    for name, chosen in parts.items():
        errors = clip_errors(video[:, :, 1:], true[:, :, 1:], chosen[:, 1:])
        figures[f"{prefix}psnr{name}"].append(errors.psnr())
    figures[f"{prefix}psnr_last"].append(clip_errors(video[:, :, -1:], true[:, :, -1:]).psnr())


def _unit(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns values of [-1, 1] in [0, 1]."""
    return (values.float() / 2 + 0.5).clamp(0, 1)


def _rows(encoded: EncodedClips, videos: Video) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """Yield a sheet for each clip: warps, generated and true frames below each other."""
    for warp, video, true in zip(encoded.warps.image, videos, encoded.clips.video, strict=True):
        frames = torch.linspace(0, len(true) - 1, SHOWN + 1).round().long()[1:]
        generated = to_uint8(video.transpose(0, 1)[frames] * 2 - 1)
        rows = torch.cat([to_uint8(warp[frames]), generated, true[frames]])
        yield contact_sheet(rows.movedim(1, -1).cpu(), columns=SHOWN)
