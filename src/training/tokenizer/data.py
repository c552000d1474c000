"""Batches for the tokenizer: random parts of random clips, recoloured, and other signals.

Batch number n of a process is always the same at the same progress.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..task import Progress
from .augment import (
    draw_window,
    known_pixels,
    mask_videos,
    ray_videos,
    recolor,
    time_videos,
    with_holes,
)
from .clips import ClipSource, WholeClips
from .config import TokenizerAugmentConfig, TokenizerTrainConfig


@dataclass(frozen=True)
class TokenizerBatch:
    """Videos in [-1, 1] (ray maps a little beyond) and the names of their clips.

    `full` marks whole frames, `guidance` is the weight of the guidance loss.
    """

    video: Float[Tensor, "clip 3 frame h w"]
    keys: list[str]
    full: bool = False
    guidance: float = 0.0


class TokenizerBatches:
    """Endless batches; parts of frames first, whole frames in the last share of the run."""

    def __init__(
        self,
        source: ClipSource,
        config: TokenizerTrainConfig,
        progress: Progress,
        seed: Sequence[int],
        position: int,
    ) -> None:
        """Start with batch number `position`; `seed` is that of this process."""
        self.position = position
        self._source, self._config = source, config
        self._progress, self._seed = progress, [*seed]

    def __iter__(self) -> Generator[TokenizerBatch, None, None]:
        """Yield the batches from `position` on."""
        try:
            while True:
                batch = self._draw(self.position, self._progress())
                self.position += 1
                yield batch
        finally:
            self._source.close()

    def _draw(self, position: int, progress: float) -> TokenizerBatch:
        data, augment = self._config.data, self._config.augment
        # A share of 0 means no whole frames, at progress 1 too.
        full = data.full_frame_share > 0 and progress >= 1 - data.full_frame_share
        count = data.full_frame_batch if full else self._config.loop.batch_size
        clips = self._source.draw(position, count, progress)
        share = (1 - progress) * augment.color_early + progress * augment.color_late
        seed = np.random.SeedSequence([*self._seed, position])
        crop = data.image_size if full else data.crop
        video = draw_samples(clips, crop, augment, color_share=share, seed=seed)
        guidance = self._config.guided.weight(progress)
        return TokenizerBatch(video, clips.keys, full=full, guidance=guidance)


def draw_samples(
    clips: WholeClips,
    crop: tuple[int, int],
    config: TokenizerAugmentConfig,
    color_share: float,
    seed: np.random.SeedSequence,
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns a sample of each clip, in [-1, 1]; the first ones may be other signals.

    Samples have the size `crop`; a `color_share` of them gets other colours.
    """
    color, cameras = clips.color, clips.cameras
    count, _, frames, height, width = color.shape
    generator = torch.Generator(color.device)
    generator.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
    window = draw_window((count, frames, height, width), crop, config, generator)
    pictures = recolor(window.of(color).float() / 255, color_share, config, generator)
    video = 2 * pictures - 1
    shares = [config.pluecker, config.masks, config.times, config.holes]
    drawn = np.random.default_rng(seed).multinomial(count, [*shares, 1 - sum(shares)]).tolist()
    rays, masks, times, holed, _ = drawn
    parts = []
    if rays:
        some = cameras[slice(rays)]
        parts.append(ray_videos(some, window.first(rays), generator))
    if masks:
        parts.append(mask_videos(known_pixels((masks, frames, *crop), generator)))
    if times:
        parts.append(time_videos((times, frames, *crop), generator))
    first = rays + masks + times
    if holed:
        known = known_pixels((holed, frames, *crop), generator)
        parts.append(with_holes(video[first : first + holed], known))
    return torch.cat([*parts, video[first + holed :]])
