"""Layers of configuration, checked against a tree of dataclasses; later layers win.

A layer is a YAML file or the `key=value` arguments of a command. Its keys are fields of the
dataclasses (`decoder.depth`) or published names (`enc_depth`), which a table translates. The values
of arguments are YAML, except those of text settings, which are taken as typed.
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

    Other values stay text; `load_config` checks whether the setting may be text.

    Raises:
        InputError: an argument without `=`, or a malformed key.
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

    Raises:
        InputError: an unknown key (with the nearest known one), a value of a wrong type or out of
            range, a published variant that does not exist here, a missing value.
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
    layer: dict[str, Any] = {}
    for _, values in settings:
        _update(layer, values)
    try:
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


def _update(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set nested keys; the keys beside them stay."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            into[name] = value
            continue
        if not isinstance(into.get(name), dict):
            into[name] = {}
        _update(into[name], value)


def leaves(schema: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted name and value of every field that is not a dataclass itself."""
    for item in fields(cast(Any, schema)):
        name, value = f"{prefix}{item.name}", getattr(schema, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
