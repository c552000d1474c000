"""Fixtures of everything that trains."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.training.settings import LoopConfig


@pytest.fixture(autouse=True)
def _new_launch() -> Iterator[None]:
    """Each test is a launch of its own; accelerate remembers settings for the whole process."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def loop(tmp_path: Path) -> LoopConfig:
    """A short run without mixed precision."""
    return LoopConfig(
        output_dir=str(tmp_path / "run"),
        max_steps=6,
        checkpoint_every=2,
        mixed_precision="no",
        validate_every=0,
    )
