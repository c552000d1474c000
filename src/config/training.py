"""What `train.py` runs: the task that a configuration names, and its settings as text."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from omegaconf import OmegaConf

from ..runtime import InputError
from .loading import Layer
from .text import escaped

TASK = "task"


def split_task(layers: Sequence[Layer], known: Sequence[str]) -> tuple[str, list[Layer]]:
    """The last `task` of the layers (by default the first known one), and the layers without it.

    Raises:
        InputError: a task that is not known.
    """
    task, rest = known[0], []
    for layer in layers:
        task = layer.values.get(TASK, task)
        if task not in known:
            raise InputError(layer.source, f"task {task!r}", f"one of {', '.join(known)}")
        values = {name: value for name, value in layer.values.items() if name != TASK}
        rest.append(replace(layer, values=values))
    return task, rest


def settings_text(config: object, task: str) -> str:
    """A configuration as YAML that loads as the same one."""
    return OmegaConf.to_yaml(OmegaConf.create({TASK: task} | escaped(asdict(cast(Any, config)))))
