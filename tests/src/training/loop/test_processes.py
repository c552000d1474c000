"""What processes tell each other, and what they draw."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

from src.training.checkpoints.snapshot import derived_seed
from src.training.loop.exchange import gather_all
from src.training.task import Validation, joined


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("value", [None, 0, "text"])
@pytest.mark.usefixtures("group")
def test_every_process_has_its_place(value: object) -> None:
    """A process that has nothing to tell and so moves the values of those after it."""
    assert gather_all(value) == [value]


def test_seeds_of_processes_and_steps_are_unrelated() -> None:
    """A sum of seed, rank and step: process 1 draws what process 0 drew a step before."""
    seeds = {derived_seed(42, rank, step) for rank in range(20) for step in range(50)}
    seeds |= {derived_seed(43, rank, step) for rank in range(20) for step in range(50)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_means_go_by_the_samples_that_have_a_figure() -> None:
    """Parts without a figure that pull its mean to 0, and a division by no samples."""
    parts = [
        Validation(2, {"a": 1.0, "b": 4.0, "d": 1.0}),
        Validation(6, {"a": 3.0, "d": 4.0}, counts={"d": 1}),
        Validation(),
        Validation(0, {"c": 1.0}),
    ]
    found = joined(parts)
    assert found.figures == {"a": 2.5, "b": 4.0, "d": 2.0} and found.count == 8
    # In one go or in two.
    assert joined([joined(parts[:2]), *parts[2:]]).figures == found.figures
