"""Which scenes are reconstructed, at which times, and how they are read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..io.clip.clip import ClipPaths, open_clip
from ..models.data.dataset import ClipDataset, ExampleDraw
from ..models.data.example import Example
from ..models.data.reading import ReadingConfig
from ..models.data.registry import resolve_dataset
from ..models.data.sampling import ExampleSamplingConfig
from ..runtime import InputError
from ..tokenizer.statistics import LatentStatistics
from .background import read_ahead


@dataclass
class ScenesConfig:
    """The data set and what is read of it.

    Attributes:
        dataset: a name of the registry.
        root: a folder instead of the registered one.
        image_size: height and width of all pictures.
        sampling: which trajectories, which targets; its `target_frame` yields to `times`.
        reading: which parts of a scene.
        times: frames of the input at whose time a dynamic scene is reconstructed, one after
            another; None for the one time of `sampling`.
    """

    dataset: str = "lyra_static_demo"
    root: str | None = None
    image_size: tuple[int, int] = (704, 1280)
    sampling: ExampleSamplingConfig = field(default_factory=ExampleSamplingConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    times: list[int] | None = None

    def __post_init__(self) -> None:
        last = self.sampling.num_input_frames - 1
        expected = f"frames between 0 and {last}"
        if self.times is not None and not self.times:
            raise InputError("target times", self.times, f"{expected}, at least one")
        # All of them now: the last one may be hours away.
        wrong = [time for time in self.times or () if not 0 <= time <= last]
        if wrong:
            raise InputError("target times", wrong, expected)


class Scenes:
    """The scenes of a data set in the order of their keys, each at all times."""

    def __init__(self, config: ScenesConfig, statistics: LatentStatistics) -> None:
        """Find the scenes and check the first one; see `ClipDataset`."""
        self.sampling, self.statistics = config.sampling, statistics
        self.times: Sequence[int | None] = config.times or [config.sampling.target_frame]
        self._config = config
        self._spec = resolve_dataset(config.dataset, config.root)
        self._datasets = {self.times[0]: self._open(self.times[0])}

    @property
    def keys(self) -> list[str]:
        """The scenes in order."""
        return self._datasets[self.times[0]].keys

    @property
    def root(self) -> Path:
        """The folder of the clips, or of tar parts as if they were unpacked."""
        return self._spec.root

    @property
    def trajectories(self) -> tuple[str, ...]:
        """The trajectories that scenes are made from."""
        return self._datasets[self.times[0]].sources

    def settings(self) -> dict[str, object]:
        """What of the configuration changes what a scene becomes."""
        reading = asdict(self._config.reading)
        kept = {"latents": reading["latents"], "color": reading["color"], "depth": reading["depth"]}
        sampling = asdict(self.sampling)
        return {"image_size": self._config.image_size, "sampling": sampling, "reading": kept}

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Example]]:
        """Yield the scenes at `indices` at the first time, the next one being read meanwhile."""
        dataset = self._datasets[self.times[0]]
        for index, result in read_ahead(
            lambda index: dataset.try_read(ExampleDraw(index)), indices
        ):
            example = dataset.accept(result)
            if example is not None:
                yield index, example

    def at_time(self, example: Example, index: int, time: int | None) -> Example:
        """The scene at another time; inputs stay, targets may be others."""
        if time == self.times[0]:
            return example
        frozen = self.sampling.freeze_time and example.target_frame is not None
        if frozen and time is not None:
            return example.at_time(time)
        if time not in self._datasets:
            self._datasets[time] = self._open(time)
        return self._datasets[time][index]

    def meta(self, example: Example) -> dict[str, object]:
        """How the scene's first clip was made; empty for published clips, which don't tell."""
        return open_clip(ClipPaths(self._spec.root, example.trajectories[0], example.key)).meta()

    def _open(self, time: int | None) -> ClipDataset:
        return ClipDataset(
            self._spec,
            replace(self.sampling, target_frame=time),
            self._config.image_size,
            statistics=self.statistics,
            reading=self._config.reading,
        )
