"""Clips of canvases for the tokenizer's training, next to clips of worlds."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from src.geometry.cameras import Cameras
from src.runtime import get_logger
from src.training.tokenizer.clips import ClipSource, WholeClips, join_clips
from src.training.tokenizer.config import TokenizerDataConfig

from ..worlds.canvases.clips import canvas_clips
from ..worlds.canvases.library import build_library

LOGGER = get_logger(__name__)
# Clips that are made at once.
AT_ONCE = 8
# The number of the first clip for statistics, which is never drawn.
FIXED = 1 << 40


class CanvasSource:
    """A window over an endless sequence of clips, which moves on with the batches.

    Clip n depends on n alone, and the window on the number of the batch: a resumed run draws the
    same clips as an uninterrupted one.
    """

    def __init__(
        self, config: TokenizerDataConfig, device: torch.device, seed: Sequence[int]
    ) -> None:
        """Paint the canvases; `seed` is that of the draws."""
        self._config, self._canvases, self._seed = config, config.canvases, [*seed]
        begin, count = time.perf_counter(), config.canvases.canvases
        self._library = build_library(
            config.canvases.seed,
            canvases=count,
            masks=max(count // 4, 4),
            size=config.canvases.size,
            device=device,
        )
        seconds = time.perf_counter() - begin
        LOGGER.info("%d canvases in %.1f s", len(self._library.canvases), seconds)
        # A whole number of groups, which are renewed at once.
        self._held = -(-config.canvases.clips // AT_ONCE) * AT_ONCE
        self._first: int | None = None
        self._color = torch.empty(0)

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`."""
        first = self._move_to(position * self._canvases.renewed // AT_ONCE * AT_ONCE)
        generator = np.random.default_rng([*self._seed, position, 1])
        slots = generator.integers(self._held, size=count)
        numbers = first + (slots - first) % self._held
        return _named(self._color[torch.from_numpy(slots).to(self._color.device)], numbers)

    def spread(self, count: int) -> WholeClips:
        """See `ClipSource`; these clips are never drawn."""
        numbers = FIXED + np.arange(count)
        return _named(self._make(numbers), numbers)

    def close(self) -> None:
        """Do nothing: no thread reads in the background."""

    def _move_to(self, first: int) -> int:
        """Move the start of the window on to clip `first`; returns the start."""
        if self._first is None or first >= self._first + self._held:
            begin = time.perf_counter()
            # The old window's memory is free before the new one is made.
            self._color = torch.empty(0)
            # Clip n lies in slot n modulo the length of the window.
            self._color = self._make(np.roll(first + np.arange(self._held), first % self._held))
            seconds = time.perf_counter() - begin
            LOGGER.info("%d clips of canvases in %.1f s", self._held, seconds)
            self._first = first
        while self._first < first:
            slot, new = self._first % self._held, self._first + self._held
            self._color[slot : slot + AT_ONCE] = self._make(new + np.arange(AT_ONCE))
            self._first += AT_ONCE
        return self._first

    def _make(self, numbers: np.ndarray) -> UInt8[Tensor, "clip 3 frame h w"]:
        """The clips of these numbers."""
        size, frames = self._config.image_size, self._config.frames
        shape = (len(numbers), 3, frames, *size)
        color = torch.empty(shape, dtype=torch.uint8, device=self._library.canvases.device)
        seeds = (numbers + (self._canvases.seed << 32)).tolist()
        for start in range(0, len(seeds), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            color[some] = canvas_clips(seeds[some], self._library, frames=frames, size=size)
        return color


def _named(color: UInt8[Tensor, "clip 3 frame h w"], numbers: np.ndarray) -> WholeClips:
    """Clips with names, and with a camera that stands still."""
    (count, _, frames, height, width), device = color.shape, color.device
    c2w = torch.eye(4, device=device).expand(count, frames, 4, 4)
    lens = torch.tensor([width, width, width / 2, height / 2], device=device)
    cameras = Cameras(c2w, lens.expand(count, frames, 4), width, height)
    return WholeClips(color, cameras, [f"canvas {number}" for number in numbers])


class MixedSource:
    """Clips of worlds, followed by a share of clips of canvases."""

    def __init__(self, worlds: ClipSource, canvases: ClipSource, share: float) -> None:
        """Draw `share` of all clips from `canvases`."""
        self._worlds, self._canvases, self._share = worlds, canvases, share

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`; the share is exact over many batches."""
        before, after = (int(count * self._share * (position + k)) for k in (0, 1))
        painted = after - before
        parts = []
        # Worlds come first, because ray maps are made from the cameras of the first clips.
        if count > painted:
            parts.append(self._worlds.draw(position, count - painted, progress))
        if painted:
            parts.append(self._canvases.draw(position, painted, progress))
        return join_clips(parts)

    def spread(self, count: int) -> WholeClips:
        """See `ClipSource`."""
        painted = round(count * self._share)
        parts = [self._worlds.spread(count - painted)] if count > painted else []
        if painted:
            parts.append(self._canvases.spread(painted))
        return join_clips(parts)

    def close(self) -> None:
        """See `ClipSource`."""
        self._worlds.close()
        self._canvases.close()
