"""Clips of worlds for the tokenizer's training, all in the device's memory."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY, make_trajectory
from src.training.tokenizer.clips import ClipSource, WholeClips
from src.training.tokenizer.config import PoolConfig, TokenizerDataConfig

from ..seeds import TRAIN, VALIDATE
from ..worlds.film import PooledClips, film_pool
from ..worlds.scene import World
from .canvases import CanvasSource, MixedSource


def open_worlds(
    config: TokenizerDataConfig, device: torch.device, seed: Sequence[int]
) -> ClipSource:
    """The clips of the configured worlds, mixed with those of canvases if these have a share.

    Raises:
        InputError: seeds that are not for training.
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
