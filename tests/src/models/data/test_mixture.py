"""Several data sets as one: who sees what how often, and where errors are from."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from src.models.data.dataset import ClipDataset, ExampleDraw, Unreadable
from src.models.data.loader import ExampleLoader, scene_batches
from src.models.data.mixture import Mixture, SceneSet
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DATASETS, DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig
from src.runtime import InputError
from src.tokenizer.cosmos import LatentStatistics

Open = Callable[..., ClipDataset]


@pytest.fixture
def open_set(static_clips: Any, statistics: LatentStatistics, tmp_path: Path) -> Open:
    """Opens copies of the static clips, with the scenes `keys` of each copy."""
    copies: list[Path] = []

    def build(keys: tuple[str, ...] = ("10", "2"), most: int = 1, skip: bool = False) -> Any:
        root = tmp_path / f"copy-{len(copies)}"
        copies.append(root)
        shutil.copytree(static_clips.root, root)
        for path in [path for path in root.rglob("*") if path.is_file() and path.stem not in keys]:
            path.unlink()
        sampling = ExampleSamplingConfig(num_input_frames=9, num_targets=2, max_trajectories=most)
        parts = (DatasetSpec(root, True), sampling, (16, 32), "train", "all", statistics)
        return ClipDataset(*parts, ReadingConfig(skip_unreadable=skip))

    return build


def told(example: Any) -> tuple:
    """What tells draws of a scene apart."""
    return example.key, example.trajectories, tuple(example.targets.frame.tolist())


def test_an_epoch_has_every_scene_as_often_as_its_set_is_repeated(open_set: Open) -> None:
    """Sets that are repeated once too often, scenes of one set that count for another."""
    one, two = open_set(), open_set(("2",))
    mixture = Mixture([(one, 3), (two, 4)])
    assert isinstance(mixture, SceneSet)
    assert len(mixture) == 3 * 2 + 4 * 1
    streams = [
        scene_batches(len(mixture), 3, seed=42, rank=rank, world_size=2) for rank in range(2)
    ]
    batches = [next(stream) for _ in range(10) for stream in streams]
    draws = [draw for batch in batches for draw in batch]
    for epoch in range(6):
        part = [mixture.locate(draw) for draw in draws[epoch * 10 : epoch * 10 + 10]]
        counts = Counter((number, draw.index) for number, draw in part)
        assert counts == {(0, 0): 3, (0, 1): 3, (1, 0): 4}
        # A scene is never drawn from twice with the same numbers.
        assert {d.epoch for number, d in part if number == 0} == {*range(3 * epoch, 3 * epoch + 3)}
        assert {d.epoch for number, d in part if number == 1} == {*range(4 * epoch, 4 * epoch + 4)}
    ours = [{(d.epoch, d.index) for d in batch} for batch in batches[:2]]
    assert not ours[0] & ours[1]


def test_an_example_is_that_of_its_set(open_set: Open) -> None:
    """Draws whose epoch, step or scene is lost on the way to the set."""
    one, two = open_set(), open_set(("2",))
    mixture = Mixture([(one, 1), (two, 2)])
    for draw, expected in (
        (ExampleDraw(1, 5, 7), one[ExampleDraw(1, 5, 7)]),
        (ExampleDraw(2, 5, 7), two[ExampleDraw(0, 10, 7)]),
        (ExampleDraw(3, 5, 7), two[ExampleDraw(0, 11, 7)]),
    ):
        assert told(mixture[draw]) == told(expected)
    assert told(mixture[0]) == told(one[0])
    assert told(mixture[-1]) == told(mixture[3])
    with pytest.raises(IndexError):
        mixture.locate(4)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_mixture_goes_on_where_it_stopped(open_set: Open, num_workers: int) -> None:
    """A resumed run that begins its sets anew."""
    mixture = Mixture([(open_set(), 2), (open_set(("10",)), 3)])
    whole = [[told(e) for e in batch] for batch in islice(ExampleLoader(mixture, 2), 6)]
    loader = ExampleLoader(mixture, 2, num_workers, position=4)
    assert [[told(e) for e in batch] for batch in islice(loader, 2)] == whole[4:]
    assert loader.position == 6


def test_a_scene_that_cannot_be_read_is_skipped_in_its_own_set(open_set: Open) -> None:
    """A scene of the same name in another set that is taken for it."""
    one, two = (open_set(skip=True) for _ in range(2))
    mixture = Mixture([(one, 1), (two, 1)])
    for path in two.spec.root.glob("*/latent/2.pkl"):
        path.write_bytes(b"")
    found = {told(e)[0] for batch in islice(ExampleLoader(mixture, 1), 6) for e in batch}
    assert found == {"2", "10"}
    assert not one.skipped and [*two.skipped] == ["2"]
    strict = Mixture([(open_set(), 1)])
    result = strict.try_read(ExampleDraw(0))
    assert strict.accept(result) is result
    with pytest.raises(InputError, match=r"a\.mp4: got x, expected y"):
        strict.accept(Unreadable("0:2", InputError("a.mp4", "x", "y")))


def test_sets_that_make_no_batch_are_refused(
    open_set: Open, dynamic_clips: Any, statistics: LatentStatistics
) -> None:
    """Examples of different shapes in a batch, an error an hour into the training."""
    one = open_set(most=3)
    fewer = open_set(most=3)
    spec = replace(fewer.spec, source_trajectories=("0", "1"))
    fewer = ClipDataset(spec, fewer.sampling, (16, 32), "train", "all", statistics)
    spec = replace(DATASETS["lyra_dynamic"], root=dynamic_clips.root)
    dynamic = ClipDataset(spec, one.sampling, (16, 32), "train", "all", statistics)
    for parts, expected in (
        ([(one, 1), (dynamic, 1)], "one kind"),
        ([(one, 1), (fewer, 1)], r"\[3, 2\]"),
    ):
        with pytest.raises(InputError, match=expected):
            Mixture(parts)
