"""The table of trainings, and the loader that all tasks share."""

import pytest

import cosmos_predict1.training  # noqa: F401
import nano  # noqa: F401
from src.config.loading import Layer
from src.config.tasks import TASKS, imported, load_train_config, task_name
from src.runtime import InputError
from src.training.decoder.config import DecoderTrainConfig
from src.training.task import Task


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
    with pytest.raises(InputError, match="run.yaml: got task 'generator', expected 'decoder'"):
        load_train_config(DecoderTrainConfig, [Layer("run.yaml", {"task": "generator"})])


@pytest.mark.parametrize("name", ["decoder", "tokenizer", "generator", "depth"])
def test_the_classes_of_every_task_are_there(name: str) -> None:
    """A renamed class, of which the table, which names it in text, knows nothing."""
    row = TASKS[name]
    config = load_train_config(imported(row.config), [Layer("run.yaml", {"task": name})])
    assert type(config) is imported(row.config) and issubclass(imported(row.task), Task)
