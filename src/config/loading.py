"""Layers of configuration, later ones winning, checked against a tree of dataclasses.

A layer is a YAML file or the `key=value` arguments of a command. Its keys are fields of the
dataclasses (`decoder.depth`) or published names (`enc_depth`), which a table translates. The values
of arguments are YAML, but for settings that are text: these are taken as they were typed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from yaml import YAMLError

from ..runtime import InputError, get_logger
from .text import escaped, replace_texts
from .translation import KeyTable, Translator

T = TypeVar("T")
LOGGER = get_logger(__name__)
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layer:
    """Keys and values of one source.

    Attributes:
        source: its name in errors.
        values: keys, nested, with values as YAML reads them.
        typed: of arguments each key as it was written, and the text after its `=`.
    """

    source: str
    values: Mapping[str, Any]
    typed: Mapping[str, str] = field(default_factory=dict)

    def below(self, name: str, source: str, values: Mapping[str, Any]) -> "Layer":
        """The layer of the settings `values` below the key `name`, with what was typed of them."""
        start = f"{name}."
        typed = {key: text for key, text in self.typed.items() if key.startswith(start)}
        return Layer(source, values, {key[len(start) :]: text for key, text in typed.items()})


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

    What is no YAML stays text; `load_config` knows whether the setting may be one.

    Raises:
        InputError: an argument without `=`, or a key that leads nowhere.
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
    """The dataclass with all layers applied, in order.

    Raises:
        InputError: an unknown key (with the nearest known one), a value of a wrong type or out of
            range, a published variant that does not exist here, a value that is missing.
    """
    config = OmegaConf.structured(schema)
    translator = Translator(table, [field.name for field in fields(cast(Any, schema))])
    for layer in layers:
        values = replace_texts(layer.values, layer.typed, schema, table)
        config = _merge(config, layer.source, list(translator.translate(layer.source, values)))
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
    except OmegaConfBaseException as error:
        sources = ", ".join(dict.fromkeys(layer.source for layer in layers))
        found = f"{error.full_key}: {str(error).splitlines()[0]}"
        raise InputError(sources, found, "a value for it") from error


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
    for item in fields(cast(Any, schema)):
        name, value = f"{prefix}{item.name}", getattr(schema, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
