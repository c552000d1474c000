"""A folder of clips as examples, one a scene.

An example depends on (seed, epoch, scene, step) alone, not on the process or worker that reads it
nor on what was read before, so a resumed run continues with the same examples.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from ...geometry.cameras import Cameras
from ...io.clip.clip import ClipPaths, list_keys, list_trajectories
from ...runtime import InputError, get_logger
from ...tokenizer.cosmos import LatentStatistics
from .example import Example, assemble, input_cameras
from .reading import ReadingConfig, SceneReader
from .registry import DatasetSpec
from .sampling import (
    ExampleSamplingConfig,
    Mode,
    Selection,
    draw_frames,
    draw_number,
    draw_trajectories,
)

LOGGER = get_logger(__name__)
# Keep random generators apart whose other seeds are equal.
OF_STEP, OF_SCENE, OF_ORDER = 1, 2, 3
Split = Literal["all", "train", "validation"]


def with_sources(spec: DatasetSpec, sampling: ExampleSamplingConfig) -> DatasetSpec:
    """Names the sources of `spec`, by default all folders but targets; `InputError` for no root."""
    if sampling.trajectory_sampling == "empty":
        return replace(spec, source_trajectories=("",))
    if spec.source_trajectories is not None:
        return spec
    there = list_trajectories(spec.root)
    sources = [name for name in there if name not in spec.target_trajectories]
    return replace(spec, source_trajectories=tuple(sources))


def input_trajectories(spec: DatasetSpec, sampling: ExampleSamplingConfig) -> tuple[str, ...]:
    """Returns the trajectories that may be inputs, in order."""
    if sampling.trajectory_sampling == "fixed":
        return tuple(sampling.fixed_trajectories or ())
    return spec.source_trajectories or ()


def used_trajectories(spec: DatasetSpec, sampling: ExampleSamplingConfig, mode: Mode) -> list[str]:
    """Returns the trajectories that every scene must have a clip of, each once.

    Raises `InputError` for a trajectory without a folder; the message lists the existing ones.
    """
    names = [*input_trajectories(spec, sampling)]
    if mode == "train" and not spec.is_static and not sampling.targets_from_inputs:
        names += [*(spec.source_trajectories or ()), *spec.target_trajectories]
    there = list_trajectories(spec.root)
    missing = [name for name in dict.fromkeys(names) if name and name not in there]
    if missing or not names:
        raise InputError(spec.root, f"no trajectory {missing}", f"trajectories among {there}")
    return list(dict.fromkeys(names))


def find_scenes(
    spec: DatasetSpec, trajectories: Sequence[str], skip_unreadable: bool
) -> tuple[list[str], dict[str, str]]:
    """Returns the keys of the scenes in name order, and the skipped ones with the reason.

    Raises `InputError` without scenes; without `skip_unreadable`, for a scene without one of its
    clips.
    """
    if not skip_unreadable:
        return list_keys(spec.root, trajectories), {}
    found = {name: list_keys(spec.root, [name]) for name in trajectories}
    present = {name: set(keys) for name, keys in found.items()}
    skipped = {}
    for key in dict.fromkeys(key for keys in found.values() for key in keys):
        missing = [name for name in trajectories if key not in present[name]]
        if missing:
            skipped[key] = f"{ClipPaths(spec.root, missing[0], key).rgb}: no such file"
    complete = [key for key in found[trajectories[0]] if key not in skipped]
    if skipped:
        LOGGER.warning("%s: left out, clips are missing: %s", spec.root, sorted(skipped))
    if not complete:
        expected = f"a scene with a clip in each of {list(trajectories)}"
        raise InputError(spec.root, f"{len(skipped)} scenes, all incomplete", expected)
    return complete, skipped


def split_scenes(keys: Sequence[str], split: Split, num_validation: int) -> list[str]:
    """Returns the keys of one part, in order; `train` and `validation` are disjoint.

    Validation has `num_validation` scenes, at most half of all: the ones with the lowest hashes,
    which mostly stay the same when scenes are added.
    """
    if split == "all":
        return list(keys)
    number = min(num_validation, len(keys) // 2)
    by_hash = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    held_out = set(by_hash[:number])
    return [key for key in keys if (key in held_out) == (split == "validation")]


class ExampleDraw(NamedTuple):
    """A scene by its index, and what else its random numbers depend on.

    Examples of one step have the same number of trajectories: they can be stacked, and no process
    waits for another with more.
    """

    index: int
    epoch: int = 0
    step: int = 0


class Unreadable(NamedTuple):
    """Takes the place of an example whose scene could not be read."""

    key: str
    error: InputError


class ClipDataset(Dataset[Example]):
    """The examples of a data set, one a scene.

    Attributes:
        keys: the scenes in name order; `dataset[i]` is the scene `keys[i]`.
        skipped: scenes left out because they cannot be read, with the reason.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        sampling: ExampleSamplingConfig,
        image_size: tuple[int, int],
        mode: Mode = "test",
        split: Split = "all",
        statistics: LatentStatistics | None = None,
        reading: ReadingConfig | None = None,
    ) -> None:
        """Finds the scenes and checks the first one.

        Pictures and cameras have `image_size` (height, width). The mode `train` draws at random,
        `test` takes all frames, and on the split `all` the first `num_test_scenes`. The tokenizer's
        `statistics` denormalise latents. Raises `InputError` for no scenes, missing folders or
        clips, a first scene that does not fit the settings (latents of another size, too few
        frames, an impossible target time).
        """
        self.spec, self.sampling = with_sources(spec, sampling), sampling
        self.image_size = image_size
        self.mode: Mode = mode
        self.reading = reading or ReadingConfig()
        if self.reading.latents and not spec.has_latents:
            raise InputError(spec.root, "latents as input", "a data set that has latents")
        # Raw latents are taken as they are.
        self.statistics = statistics if spec.latents_normalised else None
        needed = self.reading.latents and spec.latents_normalised
        assert not needed or statistics, "normalised latents need the tokenizer's statistics"
        self.sources = input_trajectories(self.spec, sampling)
        skip = self.reading.skip_unreadable
        used = used_trajectories(self.spec, sampling, mode)
        keys, self.skipped = find_scenes(spec, used, skip)
        self.keys = self._part(keys, split)
        if not self.keys:
            expected = f"more than the {len(keys)} scenes there are, or another split"
            raise InputError(spec.root, f"0 scenes for {split!r}", expected)
        if not skip:
            reader, selection = self._select(ExampleDraw(0))
            if self.reading.latents:
                frames = len(selection.inputs[0])
                reader.latents(selection.trajectories[0], frames, self.statistics)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, item: int | ExampleDraw) -> Example:
        """Reads one scene (by index: epoch 0); `InputError` names a file that is not readable."""
        reader, selection = self._select(
            item if isinstance(item, ExampleDraw) else ExampleDraw(item)
        )
        return assemble(
            reader,
            selection,
            self.reading,
            statistics=self.statistics,
            scene_scale=self.spec.scene_scale,
        )

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def cameras(self, draw: ExampleDraw) -> Cameras:
        """Reads the input cameras of an example, without its pictures and latents."""
        reader, selection = self._select(draw)
        return input_cameras(reader, selection, self.spec.scene_scale)[0]

    def try_read(self, draw: ExampleDraw) -> Example | Unreadable:
        """Reads one scene, or returns why it cannot be read."""
        try:
            return self[draw]
        except InputError as error:
            return Unreadable(self.keys[draw.index], error)

    def accept(self, result: Example | Unreadable) -> Example | None:
        """Returns the example, or None for a scene that is skipped, with one warning a scene.

        Raises `InputError` for an unreadable scene without `skip_unreadable`, or the last readable
        one.
        """
        if isinstance(result, Example):
            return result
        if not self.reading.skip_unreadable:
            raise result.error
        if result.key not in self.skipped:
            LOGGER.warning("scene %r is left out: %s", result.key, result.error)
        self.skipped[result.key] = str(result.error)
        if all(key in self.skipped for key in self.keys):
            value = f"0 of {len(self)} scenes readable"
            raise InputError(self.spec.root, value, str(result.error))
        return None

    def _select(self, draw: ExampleDraw) -> tuple[SceneReader, Selection]:
        """Returns the reader of a scene, and what `draw` takes of it."""
        index = range(len(self))[draw.index]
        reader = SceneReader(self.spec.root, self.keys[index], self.image_size)
        spec, sampling, seed = self.spec, self.sampling, self.reading.seed
        of_step = np.random.default_rng([seed, OF_STEP, draw.step])
        of_scene = np.random.default_rng([seed, OF_SCENE, draw.epoch, index])
        available, mode = self.sources, self.mode
        number = draw_number(of_step, sampling, len(available), mode=mode)
        names = draw_trajectories(of_scene, spec, sampling, available=available, number=number)
        frames = reader.clip(names[0]).num_frames
        return reader, draw_frames(
            of_scene, spec, sampling, trajectories=names, num_frames=frames, mode=mode
        )

    def _part(self, keys: list[str], split: Split) -> list[str]:
        limit = self.reading.num_test_scenes
        if split != "all":
            return split_scenes(keys, split, 16 if limit is None else limit)
        if self.mode == "test" and limit is not None and len(keys) > limit:
            # Published tests take this many as well.
            LOGGER.info("the first %d of %d scenes (num_test_scenes)", limit, len(keys))
            return keys[:limit]
        return keys
