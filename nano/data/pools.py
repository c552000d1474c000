"""Clips of worlds and of canvases for the tokenizer's training, in the device's memory."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY, make_trajectory
from src.runtime import get_logger
from src.training.tokenizer.clips import ClipSource, WholeClips, join_clips
from src.training.tokenizer.config import PoolConfig, TokenizerDataConfig

from ..seeds import TRAIN, VALIDATE
from ..worlds.canvases.clips import canvas_clips
from ..worlds.canvases.library import build_library
from ..worlds.film import PooledClips, film_pool
from ..worlds.scene import World

LOGGER = get_logger(__name__)
# Clips of canvases that are made at once.
AT_ONCE = 8
# The number of the first canvas clip for statistics, which is never drawn.
FIXED = 1 << 40


def open_worlds(
    config: TokenizerDataConfig, device: torch.device, seed: Sequence[int]
) -> ClipSource:
    """The clips of the configured worlds, mixed with those of canvases if these have a share.

    Raises `InputError` for seeds that are not for training.
    """
    worlds = PoolSource(config, device, seed)
    if not config.canvases.share:
        return worlds
    return MixedSource(worlds, CanvasSource(config, device, seed), config.canvases.share)


class PoolSource:
    """Clips of worlds, all on the device."""

    def __init__(
        self, config: TokenizerDataConfig, device: torch.device, seed: Sequence[int]
    ) -> None:
        """Render the pools; `seed` is that of the draws."""
        self._seed = [*seed]
        for kind in config.pools:
            TRAIN.check("seeds of data.pools", kind.seed, kind.worlds, dynamic=kind.dynamic)
        total = sum(kind.worlds for kind in config.pools)
        size = (config.frames, *config.image_size)
        self._color = torch.empty(total, 3, *size, dtype=torch.uint8, device=device)
        self._c2w = torch.empty(total, config.frames, 4, 4, device=device)
        self._intrinsics = torch.empty(total, 4, device=device)
        self._keys: list[str] = []
        # The weight of each clip at the start and at the end of the run.
        weights = np.zeros((2, total))
        for kind in config.pools:
            some = slice(len(self._keys), len(self._keys) + kind.worlds)
            # One pool at a time, since its depth takes memory too.
            seeds = range(kind.seed, kind.seed + kind.worlds)
            pool = seeded_clips(seeds, kind, config, device=device)
            self._color[some], self._c2w[some] = pool.color[:, 0], pool.c2w[:, 0]
            self._intrinsics[some] = pool.intrinsics
            self._keys += [f"world {seed} ({kind.palette}, {kind.detail})" for seed in pool.seeds]
            weights[:, some] = np.array([[kind.early], [kind.late]]) / kind.worlds
        self._weights = weights / weights.sum(1, keepdims=True)

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`."""
        early, late = self._weights
        weights = (1 - progress) * early + progress * late
        generator = np.random.default_rng([*self._seed, position])
        return self._at(generator.choice(len(weights), count, p=weights))

    def spread(self, count: int) -> WholeClips:
        """See `ClipSource`; leaves out clips that are never drawn at the end."""
        late = self._weights[1].nonzero()[0]
        places = np.linspace(0, len(late) - 1, min(count, len(late))).round().astype(int)
        return self._at(late[places])

    def close(self) -> None:
        """Do nothing: no thread reads in the background."""

    def _at(self, indices: np.ndarray) -> WholeClips:
        which = torch.from_numpy(indices).to(self._color.device, non_blocking=True)
        color, c2w = self._color[which], self._c2w[which]
        height, width = color.shape[-2:]
        intrinsics = self._intrinsics[which][:, None].expand(*c2w.shape[:2], 4)
        keys = [self._keys[index] for index in indices]
        return WholeClips(color, Cameras(c2w, intrinsics, width, height), keys)


def seeded_clips(
    seeds: Sequence[int], kind: PoolConfig, config: TokenizerDataConfig, device: torch.device | str
) -> PooledClips:
    """Clips of the worlds `seeds` in the style of `kind`, each along one random trajectory."""
    worlds = [
        World(
            seed=seed,
            dynamic=kind.dynamic,
            palette=kind.palette,
            saturation=kind.saturation,
            detail=kind.detail,
        )
        for seed in seeds
    ]
    return film_pool(
        worlds,
        torch.stack([_trajectory(seed, config.frames) for seed in seeds])[:, None],
        size=config.image_size,
        device=device,
        supersample=config.supersample,
    )


def held_out_worlds(
    config: TokenizerDataConfig, device: torch.device | str
) -> UInt8[Tensor, "clip 3 frame h w"]:
    """Clips of still worlds for validation, in all palettes."""
    seeds = VALIDATE.seeds(config.held_out, dynamic=False)
    return seeded_clips(seeds, PoolConfig(), config, device=device).color[:, 0]


def _trajectory(seed: int, frames: int) -> Float[Tensor, "{frames} 4 4"]:
    """Camera-to-world poses of one of the six trajectories, which the seed chooses."""
    generator = np.random.default_rng(seed)
    kind = MULTI_TRAJECTORY[int(generator.integers(len(MULTI_TRAJECTORY)))]
    return invert_rigid(make_trajectory(kind.spec(float(generator.uniform())), frames))


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
