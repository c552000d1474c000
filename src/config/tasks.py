"""The table of trainings: the name of each task, its configuration class and its task class."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf

from ..runtime import InputError
from .loading import Layer, find_path, load_config
from .published import TRAINING
from .text import escaped
from .translation import KeyTable

T = TypeVar("T")
TASK = "task"


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task of `train.py`; classes are written `module:Class` and imported when they are used.

    Attributes:
        config: The configuration class.
        task: The class of `src.training.task.Task`; it takes the configuration.
        keys: The published keys; none where no such training was published.
        defaults: A file of all keys that is read first, unless `--config_default` names another.
        paths: Settings that are paths, searched for in the repository too.
    """

    config: str
    task: str
    keys: KeyTable = KeyTable({})
    defaults: str | None = None
    paths: tuple[str, ...] = ()


# A configuration that names no task is of the first.
TASKS = {
    "decoder": TaskRow(
        config="src.training.decoder.config:DecoderTrainConfig",
        task="src.training.decoder.task:DecoderTask",
        keys=TRAINING,
        defaults="configs/training/default.yaml",
        paths=("tokenizer", "checkpoint_dir"),
    ),
    "tokenizer": TaskRow(
        config="src.training.tokenizer.config:TokenizerTrainConfig",
        task="src.training.tokenizer.task:TokenizerTask",
    ),
}


def offer_task(name: str, config: str, task: str) -> None:
    """Add the task of another package to the table; see `TaskRow`."""
    TASKS[name] = TaskRow(config=config, task=task)


def task_name(layers: Sequence[Layer]) -> str:
    """Returns the task that the last layer with a `task` names.

    Raises:
        InputError: a name that is not in the table.
    """
    name = next(iter(TASKS))
    for layer in layers:
        name = layer.values.get(TASK, name)
        if name not in TASKS:
            raise InputError(layer.source, f"task {name!r}", f"one of {', '.join(TASKS)}")
    return name


def load_train_config(schema: type[T], layers: Sequence[Layer]) -> T:
    """Returns the settings of the training whose configuration class is `schema`.

    Raises:
        InputError: the layers are of another task, or as `load_config`.
    """
    place = f"{schema.__module__}:{schema.__name__}"
    name, row = next((name, row) for name, row in TASKS.items() if row.config == place)
    naming = [layer for layer in layers if TASK in layer.values]
    if naming and naming[-1].values[TASK] != name:
        given = f"task {naming[-1].values[TASK]!r}"
        raise InputError(naming[-1].source, given, f"a configuration of the task {name!r}")
    rest = [
        replace(layer, values={key: layer.values[key] for key in layer.values if key != TASK})
        for layer in layers
    ]
    config = load_config(schema, rest, row.keys)
    paths = {setting: _searched(getattr(config, setting)) for setting in row.paths}
    return replace(cast(Any, config), **paths)


def settings_text(config: object, task: str) -> str:
    """Returns the YAML text that loads as the same configuration."""
    return OmegaConf.to_yaml(OmegaConf.create({TASK: task} | escaped(asdict(cast(Any, config)))))


def _searched(name: str) -> str:
    """Returns the path in the repository if only that exists, otherwise `name` as written."""
    found = find_path(name)
    return name if found == Path(name).expanduser() else str(found)
