"""Whole clips for the tokenizer's training, and their reader for folders."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ...geometry.cameras import Cameras
from ...io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from ...runtime import InputError
from .config import TokenizerDataConfig

# Prefix of the names of the reading threads.
THREADS = "clips"


@dataclass(frozen=True)
class WholeClips:
    """Clips of one size, their (clip, frame) cameras and their names."""

    color: UInt8[Tensor, "clip 3 frame h w"]
    cameras: Cameras
    keys: list[str]

    def to(self, device: torch.device) -> "WholeClips":
        """Returns the clips on a device."""
        return WholeClips(self.color.to(device), self.cameras.to(device), self.keys)


@runtime_checkable
class ClipSource(Protocol):
    """A source of random clips."""

    def draw(self, position: int, count: int, progress: float) -> WholeClips:
        """Returns `count` random clips of batch number `position` at a progress in [0, 1]."""
        ...

    def spread(self, count: int) -> WholeClips:
        """Returns at most `count` clips, always the same ones, evenly spread."""
        ...

    def close(self) -> None:
        """End the reading in the background; a later draw begins it again."""
        ...


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
        """Draw from `clips` with `seed`; `workers` threads read them."""
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
        return [threads.submit(self._read, index, start) for index, start in pairs]

    def _read(self, index: int, start: float) -> WholeClips:
        """Reads the frames of a sample; `start` in [0, 1] is their place in the clip.

        Raises `InputError` if the clip is damaged, too short or of another size.
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
        cameras = Cameras.stack([clip.cameras(indices)])
        return WholeClips(color, cameras, [str(paths.rgb)])


def join_clips(parts: Sequence[WholeClips]) -> WholeClips:
    """Returns the clips of all parts, one after the other."""
    cameras = Cameras.concatenate([part.cameras for part in parts])
    keys = [key for part in parts for key in part.keys]
    return WholeClips(torch.cat([part.color for part in parts]), cameras, keys)


def folder_clips(config: TokenizerDataConfig) -> tuple[list[ClipPaths], list[ClipPaths]]:
    """Returns the training clips of the folder and the held-out ones, which are its last scenes.

    Raises `InputError` if no training clips are left.
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
