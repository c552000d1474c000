"""Whole clips for the tokenizer's training: worlds in the device's memory, or a folder of clips."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras, invert_rigid
from ...geometry.trajectories import MULTI_TRAJECTORY, make_trajectory
from ...io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from ...runtime import InputError
from ..world_pool import PooledClips, render_pool
from .config import HELD_OUT, PoolConfig, TokenizerDataConfig

# Begins the names of the threads that read clips.
THREADS = "clips"


@dataclass(frozen=True)
class WholeClips:
    """Clips of one size with their (clip, frame) cameras, and a name for each."""

    color: UInt8[Tensor, "clip 3 frame h w"]
    cameras: Cameras
    keys: list[str]

    def to(self, device: torch.device) -> "WholeClips":
        """The clips on a device."""
        return WholeClips(self.color.to(device), self.cameras.to(device), self.keys)


@runtime_checkable
class ClipSource(Protocol):
    """Clips to draw from."""

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """`count` random clips of batch number `position`, when the run is so far in [0, 1]."""
        ...

    def spread(self, count: int) -> WholeClips:
        """At most `count` of the clips, always the same ones, from all over."""
        ...

    def close(self) -> None:
        """End what reads in the background; a later draw begins it again."""
        ...


class PoolSource:
    """Clips of worlds, all on the device."""

    def __init__(
        self, config: TokenizerDataConfig, device: torch.device, seed: Sequence[int]
    ) -> None:
        """Render the pools; `seed` is that of the draws."""
        self._seed = [*seed]
        kinds = config.pools
        total = sum(kind.worlds for kind in kinds)
        size = (config.frames, *config.image_size)
        self._color = torch.empty(total, 3, *size, dtype=torch.uint8, device=device)
        self._c2w = torch.empty(total, config.frames, 4, 4, device=device)
        self._intrinsics = torch.empty(total, 4, device=device)
        self._keys: list[str] = []
        # A weight a clip, at the start and at the end of the run.
        weights = np.zeros((2, total))
        for kind in kinds:
            some = slice(len(self._keys), len(self._keys) + kind.worlds)
            # One pool after the other, so that the depth of one at most is there.
            pool = world_clips(kind, config, device)
            self._color[some], self._c2w[some] = pool.color[:, 0], pool.c2w[:, 0]
            self._intrinsics[some] = pool.intrinsics
            self._keys += [f"world {seed} ({kind.palette})" for seed in pool.seeds]
            weights[:, some] = np.array([[kind.early], [kind.late]]) / kind.worlds
        self._weights = weights / weights.sum(1, keepdims=True)

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`."""
        early, late = self._weights
        weights = (1 - progress) * early + progress * late
        generator = np.random.default_rng([*self._seed, position])
        return self._at(generator.choice(len(weights), count, p=weights).tolist())

    def spread(self, count: int) -> WholeClips:
        """See `ClipSource`; clips that are never drawn at the end are left out."""
        late = self._weights[1].nonzero()[0]
        return self._at(
            late[np.linspace(0, len(late) - 1, min(count, len(late))).round().astype(int)].tolist()
        )

    def close(self) -> None:
        """Nothing reads in the background."""

    def _at(self, indices: list[int]) -> WholeClips:
        which = torch.tensor(indices).to(self._color.device, non_blocking=True)
        color, c2w = self._color[which], self._c2w[which]
        height, width = color.shape[-2:]
        intrinsics = self._intrinsics[which][:, None].expand(*c2w.shape[:2], 4)
        keys = [self._keys[index] for index in indices]
        return WholeClips(color, Cameras(c2w, intrinsics, width, height), keys)


def world_clips(
    kind: PoolConfig, config: TokenizerDataConfig, device: torch.device | str
) -> PooledClips:
    """The clips of one kind of worlds, each along one trajectory that its seed chooses."""
    seeds = range(kind.seed, kind.seed + kind.worlds)
    return seeded_clips(seeds, kind, config, device)


def seeded_clips(
    seeds: Sequence[int], kind: PoolConfig, config: TokenizerDataConfig, device: torch.device | str
) -> PooledClips:
    """Clips of the worlds `seeds` in the look of `kind`, whose own seeds don't matter."""
    poses = torch.stack([_trajectory(seed, config.frames) for seed in seeds])[:, None]
    look = (kind.palette, kind.saturation, config.supersample)
    return render_pool(seeds, poses, config.image_size, kind.dynamic, device, *look)


def held_out_worlds(config: TokenizerDataConfig, device: torch.device | str) -> PooledClips:
    """Clips of still worlds that nobody trains on, in all palettes."""
    seeds = range(HELD_OUT, HELD_OUT + config.held_out)
    return seeded_clips(seeds, PoolConfig(), config, device)


def _trajectory(seed: int, frames: int) -> Float[Tensor, "{frames} 4 4"]:
    """Camera-to-world poses of one of the six trajectories of a scene."""
    generator = np.random.default_rng(seed)
    kind = MULTI_TRAJECTORY[int(generator.integers(len(MULTI_TRAJECTORY)))]
    return invert_rigid(make_trajectory(kind.spec(float(generator.uniform())), frames))


class FolderSource:
    """Clips `<root>/<trajectory>/.../<key>` on disk; the next batch is read in the background."""

    def __init__(
        self,
        config: TokenizerDataConfig,
        clips: Sequence[ClipPaths],
        device: torch.device,
        seed: Sequence[int],
        workers: int,
    ) -> None:
        """Draw from `clips` with `seed`; as many are read at once as there are workers."""
        self._clips, self._config, self._device, self._seed = clips, config, device, [*seed]
        self._workers = max(workers, 1)
        self._threads: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, int], list[Future[WholeClips]]] = {}

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """See `ClipSource`."""
        waiting = self._ahead.pop((position, count), None) or self._start(position, count)
        self._ahead = {(position + 1, count): self._start(position + 1, count)}
        return join_clips([part.result() for part in waiting]).to(self._device)

    def spread(self, count: int) -> WholeClips:
        """See `ClipSource`."""
        last = len(self._clips) - 1
        chosen = np.linspace(0, last, min(count, len(self._clips))).round().astype(int)
        return join_clips([self._read(index, 0.0) for index in chosen.tolist()]).to(self._device)

    def close(self) -> None:
        """See `ClipSource`."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._threads, self._ahead = None, {}

    def _start(self, position: int, count: int) -> list[Future[WholeClips]]:
        threads = self._threads = self._threads or ThreadPoolExecutor(self._workers, THREADS)
        generator = np.random.default_rng([*self._seed, position])
        drawn = generator.integers(len(self._clips), size=count).tolist()
        starts = generator.uniform(size=count).tolist()
        pairs = zip(drawn, starts, strict=True)
        return [threads.submit(self._read, *pair) for pair in pairs]

    def _read(self, index: int, start: float) -> WholeClips:
        """Consecutive frames of a clip, as many as a sample has, from anywhere in it.

        Raises:
            InputError: a damaged clip, one that is too short or of another size.
        """
        paths, frames = self._clips[index], self._config.frames
        clip = open_clip(paths)
        size = (clip.info.height, clip.info.width)
        if clip.num_frames < frames or size != tuple(self._config.image_size):
            found = f"{clip.num_frames} frames of {size}"
            expected = f"{frames} frames or more of {tuple(self._config.image_size)}"
            raise InputError(paths.rgb, found, expected)
        first = int(start * (clip.num_frames - frames + 1))
        indices = range(first, first + frames)
        color = clip.frames(indices).movedim(-1, 0)[None]
        cameras = clip.cameras(indices)
        batch = Cameras(cameras.c2w[None], cameras.intrinsics[None], *reversed(size))
        return WholeClips(color, batch, [str(paths.rgb)])


def join_clips(parts: Sequence[WholeClips]) -> WholeClips:
    """The clips of all parts, one after the other."""
    cameras = Cameras(
        torch.cat([part.cameras.c2w for part in parts]),
        torch.cat([part.cameras.intrinsics for part in parts]),
        parts[0].cameras.width,
        parts[0].cameras.height,
    )
    keys = [key for part in parts for key in part.keys]
    return WholeClips(torch.cat([part.color for part in parts]), cameras, keys)


def folder_clips(config: TokenizerDataConfig) -> tuple[list[ClipPaths], list[ClipPaths]]:
    """The clips of the folder that train and those that validate, the last scenes of all.

    Raises:
        InputError: none are left to train on.
    """
    root = Path(config.root or "")
    names = list_trajectories(root)
    keys = list_keys(root)
    held = min(config.held_out, max(len(keys) - 1, 0))
    split = len(keys) - held
    train, rest = (
        [ClipPaths(root, name, key) for key in part for name in names]
        for part in (keys[:split], keys[split:])
    )
    if not train:
        raise InputError(root, f"{len(keys)} scenes of {len(names)} trajectories", "clips")
    return train, rest[:: max(len(names), 1)]
