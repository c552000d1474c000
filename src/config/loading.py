"""Layers of configuration, later ones winning, checked against a tree of dataclasses.

A layer is a YAML file or the `key=value` arguments of a command. Its keys are fields of the
dataclasses (`decoder.depth`) or published names (`enc_depth`), which a table translates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..runtime import InputError, get_logger
from .translation import KeyTable, Translator

T = TypeVar("T")
LOGGER = get_logger(__name__)
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layer:
    """Keys and values of one source; `source` names it in errors."""

    source: str
    values: Mapping[str, Any]


def find_path(path: str | Path) -> Path:
    """`path` as it is seen from here, or else from the repository, if it is there."""
    path = Path(path).expanduser()
    other = REPOSITORY / path
    return other if not path.exists() and other.exists() else path


def file_layer(path: str | Path) -> Layer:
    """The keys of a YAML file.

    Raises:
        InputError: no such file, no YAML, not a mapping.
    """
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
    """The keys of `key=value` arguments; values are YAML, dots descend.

    Raises:
        InputError: an argument without `=`, or whose value is no YAML.
    """
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if not equals or not name:
            raise InputError("command line", repr(argument), "key=value")
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments)))
    except (YAMLError, OmegaConfBaseException) as error:
        raise InputError("command line", f"{list(arguments)} ({error})", "key=value") from error
    return Layer("command line", cast(dict[str, Any], values))


def load_config(schema: type[T], layers: Sequence[Layer], table: KeyTable) -> T:
    """The dataclass with all layers applied, in order.

    Raises:
        InputError: an unknown key (with the nearest known one), a value of a wrong type or out of
            range, a published variant that does not exist here.
    """
    config = OmegaConf.structured(schema)
    translator = Translator(table, [field.name for field in fields(cast(Any, schema))])
    for layer in layers:
        config = _merge(
            config, layer.source, list(translator.translate(layer.source, layer.values))
        )
    if translator.dead:
        names = ", ".join(sorted(translator.dead))
        LOGGER.warning("keys that have no effect here: %s", names)
    try:
        return cast(T, OmegaConf.to_object(config))
    except InputError as error:
        # A setting knows its own name, but not the files that it may come from.
        sources = ", ".join(dict.fromkeys(layer.source for layer in layers))
        source = f"{error.source} ({sources})" if sources else error.source
        raise InputError(source, error.value, error.expected) from error


def _merge(
    config: DictConfig, source: str, settings: list[tuple[str, dict[str, Any]]]
) -> DictConfig:
    """The configuration with settings on top; a bad one is named as the user wrote it."""
    layer: dict[str, Any] = {}
    for _, values in settings:
        _update(layer, values)
    try:
        return cast(DictConfig, OmegaConf.merge(config, layer))
    except (OmegaConfBaseException, TypeError):
        # Once more, one by one, to find the culprit.
        for name, values in settings:
            try:
                config = cast(DictConfig, OmegaConf.merge(config, values))
            except (OmegaConfBaseException, TypeError) as error:
                found = f"{name}: {str(error).splitlines()[0]}"
                raise InputError(source, found, "a known key with a value of its type") from error
        raise


def _update(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set nested keys, leaving those beside them."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            into[name] = value
            continue
        if not isinstance(into.get(name), dict):
            into[name] = {}
        _update(into[name], value)


def leaves(schema: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted name and value of every field of a dataclass tree that is none itself."""
    for field in fields(cast(Any, schema)):
        name, value = f"{prefix}{field.name}", getattr(schema, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
