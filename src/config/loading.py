"""Layers of configuration, checked against a tree of dataclasses; and the table of trainings.

A layer is a YAML file or the `key=value` arguments of a command. Its keys are fields of the
dataclasses (`decoder.depth`) or published names (`enc_depth`), which a table translates. Later
layers win. The values of arguments are YAML, except those of text settings, taken as typed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from yaml import YAMLError

from ..runtime import InputError, get_logger
from .published import TRAINING
from .translation import KeyTable, Translator, escaped, replace_texts

T = TypeVar("T")
LOGGER = get_logger(__name__)
REPOSITORY = Path(__file__).resolve().parents[2]
TASK = "task"


@dataclass(frozen=True)
class Layer:
    """Keys and values of one source, which errors name.

    `values` are nested, as YAML reads them; `typed` holds the dotted keys of arguments, with the
    text after their `=`.
    """

    source: str
    values: Mapping[str, Any]
    typed: Mapping[str, str] = field(default_factory=dict)

    def below(self, name: str, source: str, values: Mapping[str, Any]) -> "Layer":
        """Returns the layer of the settings `values` below the key `name`."""
        start = f"{name}."
        typed = {key: text for key, text in self.typed.items() if key.startswith(start)}
        return Layer(source, values, {key[len(start) :]: text for key, text in typed.items()})


def find_path(path: str | Path) -> Path:
    """Returns `path`, or the same path in the repository if only that exists."""
    path = Path(path).expanduser()
    other = REPOSITORY / path
    return other if not path.exists() and other.exists() else path


def file_layer(path: str | Path) -> Layer:
    """Reads a YAML file; raises `InputError` if it is missing or not a YAML mapping."""
    path = find_path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "a YAML file")
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, UnicodeDecodeError, OSError, OmegaConfBaseException) as error:
        raise InputError(path, f"unreadable ({error})", "a YAML file of `key: value`") from error
    if not isinstance(loaded, dict):
        raise InputError(path, f"a {type(loaded).__name__}", "a YAML file of `key: value`")
    return Layer(str(path), cast(dict[str, Any], loaded))


def command_line_layer(arguments: Sequence[str]) -> Layer:
    """Reads `key=value` arguments; values are YAML, dots descend.

    Other values stay text; `load_config` checks whether the setting may be text. Raises
    `InputError` for an argument without `=`, or a malformed key.
    """
    values, typed = OmegaConf.create(), {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise InputError("command line", repr(argument), "key=value")
        typed[name] = text
        try:
            try:
                values.merge_with_dotlist([argument])
            except (YAMLError, GrammarParseError):
                OmegaConf.update(values, name, escaped(text))
        except OmegaConfBaseException as error:
            raise InputError("command line", f"{argument!r} ({error})", "key=value") from error
    return Layer("command line", cast(dict[str, Any], OmegaConf.to_container(values)), typed)


def load_config(schema: type[T], layers: Sequence[Layer], table: KeyTable) -> T:
    """Returns the dataclass with all layers applied, in order.

    Raises `InputError` for an unknown key (with the nearest known one), a value of a wrong type or
    out of range, a published variant that does not exist here, a missing value.
    """
    config = OmegaConf.structured(schema)
    translator = Translator(table, [field.name for field in fields(cast(Any, schema))])
    for layer in layers:
        values = replace_texts(layer.values, layer.typed, schema, table)
        config = _merge(config, layer.source, list(translator.translate(layer.source, values)))
    if translator.dead:
        names = ", ".join(sorted(translator.dead))
        LOGGER.warning("keys that have no effect here: %s", names)
    sources = ", ".join(dict.fromkeys(layer.source for layer in layers))
    try:
        return cast(T, OmegaConf.to_object(config))
    except InputError as error:
        # The check of a setting knows its name, but not the files.
        source = f"{error.source} ({sources})" if sources else error.source
        raise InputError(source, error.value, error.expected) from error
    except OmegaConfBaseException as error:
        found = f"{error.full_key}: {str(error).splitlines()[0]}"
        raise InputError(sources, found, "a value for it") from error


def _merge(
    config: DictConfig, source: str, settings: list[tuple[str, dict[str, Any]]]
) -> DictConfig:
    """Returns the configuration with settings on top; errors name a key as the user wrote it."""
    try:
        layer = OmegaConf.merge({}, *(values for _, values in settings))
        return cast(DictConfig, OmegaConf.merge(config, layer))
    except (OmegaConfBaseException, TypeError):
        # Again one by one, to find the wrong setting.
        for name, values in settings:
            try:
                config = cast(DictConfig, OmegaConf.merge(config, values))
            except (OmegaConfBaseException, TypeError) as error:
                found = f"{name}: {str(error).splitlines()[0]}"
                raise InputError(source, found, "a known key with a value of its type") from error
        raise


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

    Raises `InputError` for a name that is not in the table.
    """
    name = next(iter(TASKS))
    for layer in layers:
        name = layer.values.get(TASK, name)
        if name not in TASKS:
            raise InputError(layer.source, f"task {name!r}", f"one of {', '.join(TASKS)}")
    return name


def load_train_config(schema: type[T], layers: Sequence[Layer]) -> T:
    """Returns the settings of the training whose configuration class is `schema`.

    Raises `InputError` if the layers are of another task, or as `load_config`.
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
