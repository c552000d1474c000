"""Clips of canvases for the tokenizer's training, among those of worlds."""

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
from ..worlds.canvases.library import Library, build_library

LOGGER = get_logger(__name__)
# Clips that are made at once.
AT_ONCE = 8
# Seeds of clips that are always the same ones, such as those for statistics.
FIXED = 1 << 40


class CanvasSource:
    """A window over an endless row of clips, which moves on with the batches.

    Clip number n is a function of n, and the window one of the batch's number: a resumed run draws
    from the same clips as one without a break.
    """

    def __init__(
        self, config: TokenizerDataConfig, device: torch.device, seed: Sequence[int]
    ) -> None:
        """Paint the canvases; `seed` is that of the draws."""
        self._config, self._canvases, self._seed = config, config.canvases, [*seed]
        begin, canvases = time.perf_counter(), config.canvases
        masks = max(canvases.canvases // 4, 4)
        self._library: Library = build_library(
            canvases.seed, canvases.canvases, masks, canvases.size, device
        )
        seconds = time.perf_counter() - begin
        LOGGER.info("%d canvases in %.1f s", len(self._library.canvases), seconds)
        # Whole groups, so that each is renewed at once.
        self._held = -(-canvases.clips // AT_ONCE) * AT_ONCE
        self._first: int | None = None
        self._color = torch.empty(0)

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`."""
        self._move_to(position * self._canvases.renewed // AT_ONCE * AT_ONCE)
        assert self._first is not None, "a window without a place"
        generator = np.random.default_rng([*self._seed, position, 1])
        slots = generator.integers(self._held, size=count)
        numbers = self._first + (slots - self._first) % self._held
        return self._named(self._color[torch.from_numpy(slots).to(self._color.device)], numbers)

    def spread(self, count: int) -> WholeClips:
        """See `ClipSource`: clips that are never drawn."""
        numbers = FIXED + np.arange(count)
        return self._named(self._make(numbers.tolist()), numbers)

    def close(self) -> None:
        """Nothing reads in the background."""

    def _move_to(self, first: int) -> None:
        """Let the window begin with clip number `first`."""
        if self._first is None or first >= self._first + self._held:
            begin = time.perf_counter()
            self._color = torch.empty(0)
            numbers = np.arange(first, first + self._held)
            # Number n lies in slot n modulo the length of the window.
            self._color = self._make(np.roll(numbers, first % self._held).tolist())
            seconds = time.perf_counter() - begin
            LOGGER.info("%d clips of canvases in %.1f s", self._held, seconds)
            self._first = first
        while self._first < first:
            new = np.arange(self._first, self._first + AT_ONCE)
            slot = self._first % self._held
            self._color[slot : slot + AT_ONCE] = self._make((new + self._held).tolist())
            self._first += AT_ONCE

    def _make(self, numbers: list[int]) -> UInt8[Tensor, "clip 3 frame h w"]:
        """The clips of these numbers."""
        device = self._library.canvases.device
        size, frames = self._config.image_size, self._config.frames
        shape = (len(numbers), 3, frames, *size)
        color = torch.empty(shape, dtype=torch.uint8, device=device)
        first = self._canvases.seed << 32
        for start in range(0, len(numbers), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            seeds = [first + number for number in numbers[some]]
            color[some] = canvas_clips(seeds, self._library, frames, size)
        return color

    def _named(self, color: UInt8[Tensor, "clip 3 frame h w"], numbers: np.ndarray) -> WholeClips:
        """Clips with cameras and names."""
        count, (height, width) = len(color), color.shape[-2:]
        # Canvases have no camera: one that stands still.
        c2w = torch.eye(4, device=color.device).expand(count, color.shape[2], 4, 4)
        lens = torch.tensor([width, width, width / 2, height / 2], device=color.device)
        cameras = Cameras(c2w, lens.expand(count, color.shape[2], 4), width, height)
        return WholeClips(color, cameras, [f"canvas {number}" for number in numbers])


class MixedSource:
    """Clips of worlds, and after them a share of clips of canvases."""

    def __init__(self, worlds: ClipSource, canvases: ClipSource, share: float) -> None:
        """Draw `share` of all clips from `canvases`."""
        self._worlds, self._canvases, self._share = worlds, canvases, share

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`; the share is exact over many batches."""
        before, after = (int(count * self._share * (position + k)) for k in (0, 1))
        painted = after - before
        parts = []
        if count > painted:
            # First, so that maps of rays come from their cameras.
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
