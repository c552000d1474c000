"""Several data sets as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from torch.utils.data import Dataset

from ...runtime import InputError
from .dataset import ClipDataset, ExampleDraw, Unreadable
from .example import Example


class Mixture(Dataset[Example]):
    """The scenes of one data set after another, each set as often as it is repeated.

    A repeated scene is drawn anew each time, as in another epoch: place p of a set with n scenes
    that is repeated r times is scene p mod n, in its own epoch e r + p / n.
    """

    def __init__(self, parts: Sequence[tuple[ClipDataset, int]]) -> None:
        """Joins data sets with their repeats.

        Raises `InputError` for sets whose examples don't make one batch: static and dynamic ones,
        or with different numbers of trajectories.
        """
        self.datasets = [dataset for dataset, _ in parts]
        self.repeats = [repeat for _, repeat in parts]
        if len({dataset.spec.is_static for dataset in self.datasets}) > 1:
            raise InputError("data sets", "static and dynamic ones", "sets of one kind")
        most = [min(part.sampling.max_trajectories, len(part.sources)) for part in self.datasets]
        if len(set(most)) > 1:
            expected = "equally many of every set, or a smaller `max_trajectories`"
            raise InputError("input trajectories of the data sets", most, expected)
        self.ends = [*accumulate(len(dataset) * repeat for dataset, repeat in parts)]
        self.reading = self.datasets[0].reading

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, item: int | ExampleDraw) -> Example:
        """Reads one scene of one set; see `ClipDataset`."""
        number, draw = self.locate(item)
        return self.datasets[number][draw]

    def locate(self, item: int | ExampleDraw) -> tuple[int, ExampleDraw]:
        """Returns the number of the set that a draw belongs to, and the draw within that set."""
        draw = item if isinstance(item, ExampleDraw) else ExampleDraw(item)
        index = range(len(self))[draw.index]
        number = bisect_right(self.ends, index)
        place = index - (self.ends[number - 1] if number else 0)
        turn, scene = divmod(place, len(self.datasets[number]))
        return number, ExampleDraw(scene, draw.epoch * self.repeats[number] + turn, draw.step)

    def try_read(self, draw: ExampleDraw) -> Example | Unreadable:
        """Reads one scene, or returns why it cannot be read."""
        number, own = self.locate(draw)
        result = self.datasets[number].try_read(own)
        if isinstance(result, Unreadable):
            # Two sets may have scenes of the same name.
            return result._replace(key=f"{number}:{result.key}")
        return result

    def accept(self, result: Example | Unreadable) -> Example | None:
        """Returns the example, or None for a scene that is skipped; see `ClipDataset`."""
        if isinstance(result, Example):
            return result
        number, _, key = result.key.partition(":")
        return self.datasets[int(number)].accept(result._replace(key=key))


SceneSet = ClipDataset | Mixture
