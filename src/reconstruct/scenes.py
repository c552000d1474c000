"""The scenes of a run and the times at which they are reconstructed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from ..io.clip.clip import ClipPaths, open_clip
from ..models.data.dataset import ClipDataset
from ..models.data.example import Example
from ..models.data.reading import ReadingConfig
from ..models.data.registry import resolve_dataset
from ..models.data.sampling import ExampleSamplingConfig
from ..runtime import InputError
from ..tokenizer.cosmos import LatentStatistics


@dataclass(kw_only=True)
class ScenesConfig:
    """The data set, and the parts of it that are read.

    Attributes:
        dataset: a name of the registry.
        root: a folder instead of the registered one.
        image_size: height and width of all pictures.
        sampling: trajectories and targets; `times` replace its `target_frame`.
        reading: the parts of a scene.
        times: input frames at whose times a dynamic scene is reconstructed; None for the one time
            of `sampling`.
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
        # All are checked now: the last one may be hours away.
        wrong = [time for time in self.times or () if not 0 <= time <= last]
        if wrong:
            raise InputError("target times", wrong, expected)


class Scenes:
    """The scenes of a data set in the order of their keys, each at all times.

    Attributes:
        first: the scenes at the first time.
        root: the folder of the clips, or of tar parts as if they were unpacked.
        trajectories: the possible inputs.
    """

    def __init__(self, config: ScenesConfig, statistics: LatentStatistics) -> None:
        """Finds the scenes and checks the first one; see `ClipDataset`."""
        self._config, self._statistics = config, statistics
        self._spec = resolve_dataset(config.dataset, config.root)
        self.times: Sequence[int | None] = config.times or [config.sampling.target_frame]
        self.first = self._open(self.times[0])
        self._datasets = {self.times[0]: self.first}
        self.keys, self.root = self.first.keys, self._spec.root
        self.trajectories = self.first.sources

    def settings(self) -> dict[str, object]:
        """Returns the settings that change what a scene becomes."""
        config, reading = self._config, self._config.reading
        parts = {"latents": reading.latents, "color": reading.color, "depth": reading.depth}
        sampling = asdict(config.sampling)
        return {"image_size": config.image_size, "sampling": sampling, "reading": parts}

    def at_time(self, example: Example, index: int, time: int | None) -> Example:
        """Returns the scene at another time; inputs stay, targets may change."""
        if time == self.times[0]:
            return example
        frozen = self._config.sampling.freeze_time and example.target_frame is not None
        if frozen and time is not None:
            return example.at_time(time)
        if time not in self._datasets:
            self._datasets[time] = self._open(time)
        return self._datasets[time][index]

    def meta(self, example: Example) -> dict[str, object]:
        """Returns the description of the scene's first clip; empty for published clips."""
        return open_clip(ClipPaths(self.root, example.trajectories[0], example.key)).meta()

    def _open(self, time: int | None) -> ClipDataset:
        return ClipDataset(
            self._spec,
            replace(self._config.sampling, target_frame=time),
            self._config.image_size,
            statistics=self._statistics,
            reading=self._config.reading,
        )
