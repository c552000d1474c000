"""Scenes of a folder of clips as examples: which one is asked for, and nothing else in its place.

An item depends on (seed, epoch, scene, step) alone, whichever process or worker reads it and
whatever was read before, so that a resumed run goes on with the same examples.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch.utils.data import Dataset

from ...runtime import InputError, get_logger
from ...tokenizer.statistics import LatentStatistics
from .assembly import assemble
from .example import Example
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
from .scenes import (
    Split,
    find_scenes,
    input_trajectories,
    split_scenes,
    used_trajectories,
    with_sources,
)

LOGGER = get_logger(__name__)
# Keep generators apart whose other numbers may be equal.
OF_STEP, OF_SCENE, OF_ORDER = 1, 2, 3


class ExampleDraw(NamedTuple):
    """Which scene, and what its random numbers depend on besides.

    Examples of one step have the same number of trajectories: they can be stacked, and no process
    waits for another that drew more.
    """

    index: int
    epoch: int = 0
    step: int = 0


class Unreadable(NamedTuple):
    """In the place of a scene: why it could not be read; the fields of an `InputError`."""

    key: str
    source: str
    value: str
    expected: str

    def error(self) -> InputError:
        """The error that it stands for."""
        return InputError(self.source, self.value, self.expected)


@runtime_checkable
class SceneSet(Protocol):
    """What examples are drawn from: one data set, or several as one."""

    keys: list[str]
    reading: ReadingConfig

    def __len__(self) -> int:
        """The number of draws in an epoch."""
        ...

    def __getitem__(self, item: int | ExampleDraw) -> Example:
        """One example."""
        ...

    def try_read(self, draw: ExampleDraw) -> Example | Unreadable:
        """One example, or why its scene cannot be read."""
        ...

    def accept(self, result: Example | Unreadable) -> Example | None:
        """The example; None for a scene that is to be skipped."""
        ...


class ClipDataset(Dataset[Example]):
    """The examples of a data set, one a scene.

    Attributes:
        keys: the scenes in name order; `dataset[i]` is the scene `keys[i]`.
        skipped: scenes that were left out because they are not readable, with the reason.
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
        """Find the scenes and check the first one.

        Args:
            spec: the data set, see `resolve_dataset`.
            sampling: what is drawn of a scene.
            image_size: height and width of all pictures and cameras.
            mode: random draws, or all frames.
            split: which scenes; a test on `all` takes the first `num_test_scenes` of them.
            statistics: of the tokenizer, to de-normalise latents; see `load_statistics`.
            reading: what is read, and of which scenes.

        Raises:
            InputError: no scenes, missing folders or clips, a first scene that does not fit the
                settings (latents of another size, too few frames, an impossible target time).
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
            self._check_first_scene()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, item: int | ExampleDraw) -> Example:
        """One scene; a bare index is its draw of epoch 0.

        Raises:
            InputError: naming the file that cannot be read or does not fit the settings.
        """
        draw = item if isinstance(item, ExampleDraw) else ExampleDraw(item)
        reader = SceneReader(self.spec.root, self.keys[draw.index], self.image_size)
        return assemble(
            reader, self.select(reader, draw), self.reading, self.statistics, self.spec.scene_scale
        )

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def try_read(self, draw: ExampleDraw) -> Example | Unreadable:
        """One scene, or why it cannot be read."""
        try:
            return self[draw]
        except InputError as error:
            key = self.keys[draw.index]
            return Unreadable(key, str(error.source), str(error.value), error.expected)

    def accept(self, result: Example | Unreadable) -> Example | None:
        """The example; None for a scene that is to be skipped, which is noted with a warning.

        Raises:
            InputError: an unreadable scene, unless `skip_unreadable` is set; the last of all.
        """
        if isinstance(result, Example):
            return result
        if not self.reading.skip_unreadable:
            raise result.error()
        error = result.error()
        if result.key not in self.skipped:
            LOGGER.warning("scene %r is left out: %s", result.key, error)
        self.skipped[result.key] = str(error)
        if all(key in self.skipped for key in self.keys):
            raise InputError(self.spec.root, f"0 of {len(self)} scenes readable", str(error))
        return None

    def select(self, reader: SceneReader, draw: ExampleDraw) -> Selection:
        """What `draw` takes of a scene."""
        index = range(len(self))[draw.index]
        spec, sampling, seed = self.spec, self.sampling, self.reading.seed
        of_step = np.random.default_rng([seed, OF_STEP, draw.step])
        of_scene = np.random.default_rng([seed, OF_SCENE, draw.epoch, index])
        number = draw_number(of_step, sampling, len(self.sources), self.mode)
        names = draw_trajectories(of_scene, spec, sampling, self.sources, number)
        num_frames = reader.clip(names[0]).num_frames
        return draw_frames(of_scene, spec, sampling, names, num_frames, self.mode)

    def _part(self, keys: list[str], split: Split) -> list[str]:
        limit = self.reading.num_test_scenes
        if split != "all":
            return split_scenes(keys, split, 16 if limit is None else limit)
        if self.mode == "test" and limit is not None and len(keys) > limit:
            # Published tests take this many as well.
            LOGGER.info("the first %d of %d scenes (num_test_scenes)", limit, len(keys))
            return keys[:limit]
        return keys

    def _check_first_scene(self) -> None:
        reader = SceneReader(self.spec.root, self.keys[0], self.image_size)
        selection = self.select(reader, ExampleDraw(0))
        if self.reading.latents:
            frames = len(selection.inputs[0])
            reader.latents(selection.trajectories[0], frames, self.statistics)
