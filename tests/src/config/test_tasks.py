"""The table of trainings, and the loader that all tasks share."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from config_leaves import leaves

import cosmos_predict1.training  # noqa: F401
import nano  # noqa: F401
from src.config.loading import (
    REPOSITORY,
    TASKS,
    Layer,
    file_layer,
    load_train_config,
    task_name,
)
from src.runtime import InputError
from src.training import imported
from src.training.decoder.config import DecoderTrainConfig
from src.training.task import Task

OWN_FILES = [
    path
    for path in sorted((REPOSITORY / "configs").glob("**/training/*.yaml"))
    if "task" in file_layer(path).values
]


def test_the_last_task_that_is_named_counts() -> None:
    """Another task than the user asked for, or none where no file names any."""
    assert task_name([Layer("a", {})]) == "decoder"
    assert task_name([Layer("a", {"task": "depth"}), Layer("b", {"task": "tokenizer"})]) == (
        "tokenizer"
    )


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    """A task of another package that nobody offered, or a message that does not help."""
    with pytest.raises(InputError, match="one of decoder, tokenizer, ") as caught:
        task_name([Layer("run.yaml", {"task": "dept"})])
    assert caught.value.source == "run.yaml"


def test_a_configuration_of_another_task_is_refused() -> None:
    """`sample.py` with the configuration of a generator, read as a decoder's."""
    with pytest.raises(InputError, match="run.yaml: got task 'generator', expected .*'decoder'"):
        load_train_config(DecoderTrainConfig, [Layer("run.yaml", {"task": "generator"})])


@pytest.mark.parametrize("name", ["decoder", "tokenizer", "generator", "depth"])
def test_the_classes_of_every_task_are_there(name: str) -> None:
    """A renamed class, of which the table, which names it in text, knows nothing."""
    row = TASKS[name]
    config = load_train_config(imported(row.config), [Layer("run.yaml", {"task": name})])
    assert type(config) is imported(row.config) and issubclass(imported(row.task), Task)


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize(
    "path", OWN_FILES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}"
)
def test_the_files_of_our_own_tasks_hold_only_what_differs(path: Path) -> None:
    """A default that a file repeats, so that a reader takes it for a choice."""
    values = file_layer(path).values
    defaults = dict(leaves(imported(TASKS[values["task"]].config)()))
    repeated = [
        name
        for name, value in dotted(values)
        if name in defaults
        and defaults[name] == (tuple(value) if isinstance(defaults[name], tuple) else value)
    ]
    assert repeated == []
