"""Several data sets as one, of which an epoch goes through some more often than through others."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from torch.utils.data import Dataset

from ...runtime import InputError
from .dataset import ClipDataset, ExampleDraw, Unreadable
from .example import Example


class Mixture(Dataset[Example]):
    """The scenes of each data set in turn, as often as it is repeated.

    A repeated scene is drawn from anew each time, as it is in another epoch: place p of a set with
    n scenes that is repeated r times is scene p mod n, in its own epoch e r + p / n.
    """

    def __init__(self, parts: Sequence[tuple[ClipDataset, int]]) -> None:
        """Join data sets with their repeats.

        Raises:
            InputError: no set, a repeat below 1, sets whose examples don't make one batch: static
                and dynamic ones, or of more and of fewer trajectories.
        """
        if not parts:
            raise InputError("data sets", "none", "at least one")
        self.datasets = [dataset for dataset, _ in parts]
        self.repeats = [repeat for _, repeat in parts]
        for dataset, repeat in parts:
            if repeat < 1:
                raise InputError(dataset.spec.root, f"repeat {repeat}", "at least 1")
        kinds = [dataset.spec.is_static for dataset in self.datasets]
        if len(set(kinds)) > 1:
            raise InputError("data sets", "static and dynamic ones", "sets of one kind")
        most = [_most_inputs(dataset) for dataset in self.datasets]
        if len(set(most)) > 1:
            expected = "equally many of every set, or a smaller `max_trajectories`"
            raise InputError("input trajectories of the data sets", most, expected)
        # In the order of the draws, each as often as it is drawn.
        self.keys = [key for dataset, repeat in parts for key in dataset.keys * repeat]
        self.ends = [*accumulate(len(dataset) * repeat for dataset, repeat in parts)]
        self.reading = self.datasets[0].reading

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, item: int | ExampleDraw) -> Example:
        """One scene of one set; see `ClipDataset`."""
        number, draw = self.locate(item)
        return self.datasets[number][draw]

    def locate(self, item: int | ExampleDraw) -> tuple[int, ExampleDraw]:
        """Which set a draw is of, and what it is there."""
        draw = item if isinstance(item, ExampleDraw) else ExampleDraw(item)
        index = range(len(self))[draw.index]
        number = bisect_right(self.ends, index)
        place = index - (self.ends[number - 1] if number else 0)
        turn, scene = divmod(place, len(self.datasets[number]))
        return number, ExampleDraw(scene, draw.epoch * self.repeats[number] + turn, draw.step)

    def try_read(self, draw: ExampleDraw) -> Example | Unreadable:
        """One scene, or why it cannot be read."""
        number, own = self.locate(draw)
        result = self.datasets[number].try_read(own)
        if isinstance(result, Unreadable):
            # Two sets may have scenes of one name.
            return result._replace(key=f"{number}:{result.key}")
        return result

    def accept(self, result: Example | Unreadable) -> Example | None:
        """The example; None for a scene that is to be skipped; see `ClipDataset`."""
        if isinstance(result, Example):
            return result
        number, _, key = result.key.partition(":")
        return self.datasets[int(number)].accept(result._replace(key=key))


def _most_inputs(dataset: ClipDataset) -> int:
    """The most input trajectories of an example."""
    return min(dataset.sampling.max_trajectories, len(dataset.sources))
