"""Clips of canvases among those of worlds."""

from dataclasses import replace

import pytest
import torch

from nano.data.pools import CanvasSource, MixedSource, PoolSource
from src.config.loading import file_layer, load_train_config
from src.runtime import InputError
from src.training.tokenizer.config import (
    CanvasConfig,
    PoolConfig,
    TokenizerDataConfig,
    TokenizerTrainConfig,
)

CPU = torch.device("cpu")
CANVASES = CanvasConfig(share=0.6, canvases=10, size=(32, 48), clips=16, renewed=3)
DATA = TokenizerDataConfig(
    pools=[PoolConfig(worlds=2)],
    canvases=CANVASES,
    frames=1,
    image_size=(16, 24),
    crop=(16, 24),
    supersample=1,
)


def test_a_source_that_starts_late_draws_what_one_from_the_start_does() -> None:
    """A resumed run with other clips: a window that moves to other slots, or with other seeds."""
    whole = CanvasSource(DATA, CPU, [1])
    drawn = [whole.draw(position, 6, 0.0) for position in range(12)]
    for position in (3, 7, 11):
        late = CanvasSource(DATA, CPU, [1]).draw(position, 6, 0.0)
        assert late.keys == drawn[position].keys
        assert (late.color.int() - drawn[position].color.int()).abs().max() <= 1
    numbers = [int(key.split()[1]) for key in drawn[11].keys]
    # 33 clips are renewed by then, in groups of 8.
    assert min(numbers) >= 32 and max(numbers) < 48
    assert max(int(key.split()[1]) for key in drawn[0].keys) < 16


def test_the_share_is_exact_over_batches_and_worlds_come_first() -> None:
    """A share that is rounded away in small batches, or rays of clips without a camera."""
    canvases, worlds = CanvasSource(DATA, CPU, [1]), PoolSource(DATA, CPU, [1])
    source = MixedSource(worlds, canvases, 0.6)
    keys = [source.draw(position, 4, 0.0).keys for position in range(10)]
    painted = [[key.startswith("canvas") for key in batch] for batch in keys]
    assert sum(map(sum, painted)) == 24 and all(len(batch) == 4 for batch in painted)
    assert all(batch == sorted(batch) for batch in painted)
    spread = source.spread(5)
    assert spread.keys == source.spread(5).keys and len(spread.color) == 5
    assert MixedSource(worlds, canvases, 1.0).draw(0, 3, 0.0).cameras.c2w.shape == (3, 1, 4, 4)


def test_settings_that_cannot_work_are_refused() -> None:
    """Shares beyond 1, no canvas at all, canvases that are too small for their patterns."""
    for wrong in ({"share": 1.2}, {"canvases": 0}, {"renewed": -1}, {"size": (16, 64)}):
        with pytest.raises(InputError):
            CanvasConfig(**wrong)


def test_shipped_configurations_load() -> None:
    """A key of the files that is no setting."""
    layers = [file_layer("configs/nano/training/tokenizer.yaml")]
    config = load_train_config(TokenizerTrainConfig, layers)
    assert config.guided.enabled and config.data.image_size == (256, 448)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": 99_999, "worlds": 2},
        {"seed": 0, "dynamic": True},
        {"seed": 899_999, "worlds": 2, "dynamic": True},
    ],
)
def test_worlds_that_are_not_for_training_are_refused(wrong: dict[str, int]) -> None:
    """A training on worlds that validate or test."""
    with pytest.raises(InputError, match="seeds of data.pools"):
        PoolSource(replace(DATA, pools=[PoolConfig(worlds=1), PoolConfig(**wrong)]), CPU, [1])
