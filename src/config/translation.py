"""Published keys -> ours: published configurations are flat, ours are trees of dataclasses.

Text settings, such as paths, are taken as typed instead of read as YAML, in which ` #` begins a
comment, `2024_01_15` is a number and `no` is false; in OmegaConf `${HOME}` refers to a setting.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from ..runtime import InputError

# Stands for no value: our default stays.
KEEP = object()
NOTHING = ("", "null", "Null", "NULL", "~")


def unchanged(value: Any) -> Any:
    """Returns the value itself."""
    return value


@dataclass(frozen=True)
class Key:
    """A published key: each of the dotted paths gets `convert(value)`."""

    paths: tuple[str, ...]
    convert: Callable[[Any], Any] = unchanged


def to(*paths: str) -> Key:
    """Returns a key whose value goes to `paths` unchanged."""
    return Key(paths)


def choice(path: str, values: Mapping[Any, Any]) -> Key:
    """Returns a key whose published values are translated by the table `values`."""

    def convert(value: Any) -> Any:
        # Compared one by one: a list has no hash.
        for theirs, ours in values.items():
            if theirs == value:
                return ours
        raise InputError("value", repr(value), f"one of {list(values)}")

    return Key((path,), convert)


@dataclass(frozen=True)
class Derived:
    """A setting at `path` that follows from several published keys: those seen so far, by name."""

    path: str
    names: frozenset[str]
    value: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class KeyTable:
    """The published keys of one command.

    Attributes:
        keys: Keys that are translated.
        fixed: Keys of variants that don't exist here, with their one possible value.
        dead: Keys without an effect here (or anywhere); a warning names them.
        derived: Settings that follow from several keys.
        elsewhere: Keys of another command with their place, for a hint.
    """

    keys: Mapping[str, Key]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    derived: tuple[Derived, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """The published keys."""
        return {*self.keys, *self.fixed, *self.dead, *self.derived_names}

    @property
    def derived_names(self) -> set[str]:
        """The keys from which settings are derived."""
        return {name for derived in self.derived for name in derived.names}


class Translator:
    """Translates layers in order; `dead` collects the keys without an effect."""

    def __init__(self, table: KeyTable, own: Sequence[str]) -> None:
        """Keep the keys in `own`, which are fields of the root."""
        self._table, self._own = table, own
        self._seen: dict[str, Any] = {}
        self.dead: set[str] = set()

    def translate(
        self, source: str, values: Mapping[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each key and its settings, nested as our dataclasses.

        Raises `InputError` for an unknown key, a variant that does not exist here, two keys that
        contradict each other.
        """
        given: dict[str, tuple[str, Any]] = {}
        for name, value in values.items():
            for path, ours in self._translate_one(source, str(name), value):
                other, theirs = given.setdefault(path, (str(name), ours))
                # nan is unequal to itself.
                if other != str(name) and theirs != ours:
                    found = f"{other} and {name} say {theirs!r} and {ours!r}"
                    raise InputError(source, found, "two keys that agree")
        for path, (name, ours) in given.items():
            yield name, _nested(path, ours)
        self._seen.update(values)
        # Only if this layer has such a key: a later layer may have set our setting itself.
        for derived in self._table.derived:
            if not derived.names.isdisjoint(values):
                names = ", ".join(sorted(derived.names))
                yield names, _nested(derived.path, derived.value(self._seen))

    def _translate_one(self, source: str, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Yield our dotted paths and values of one key."""
        table = self._table
        if name in table.keys:
            try:
                ours = table.keys[name].convert(value)
            except InputError as error:
                raise InputError(source, f"{name}={value!r}", error.expected) from error
            if ours is not KEEP:
                yield from ((path, ours) for path in table.keys[name].paths)
        elif name in table.fixed:
            if value != table.fixed[name]:
                expected = f"{table.fixed[name]!r}: other variants don't exist here"
                raise InputError(source, f"{name}={value!r}", expected)
        elif name in table.dead:
            self.dead.add(name)
        elif name in table.derived_names:
            return
        elif name in self._own:
            yield name, value
        else:
            raise InputError(source, f"unknown key {name!r}", self._hint(name))

    def _hint(self, name: str) -> str:
        """Returns the suggestion for an unknown key."""
        if name in self._table.elsewhere:
            return f"{self._table.elsewhere[name]!r} for this key"
        known = sorted({*self._own, *self._table.names} - self._table.dead)
        near = difflib.get_close_matches(name, known, n=1)
        return f"a known key (did you mean {near[0]!r}?)" if near else "a known key"


def _nested(path: str, value: Any) -> dict[str, Any]:
    """Returns `{"a": {"b": value}}` for the path `a.b`."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def replace_texts(
    values: Mapping[str, Any], typed: Mapping[str, str], schema: type, table: KeyTable
) -> Mapping[str, Any]:
    """Returns the values of a layer, with the text settings of `schema` as they were typed.

    `typed` holds dotted keys and the text after their `=`.
    """
    replaced: dict[str, Any] = deepcopy(dict(values))
    for name, text in typed.items():
        *folders, last = name.split(".")
        place: Any = replaced
        for folder in folders:
            place = place.get(folder) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            place[last] = _value(text, place[last], _kind(name, schema, table))
    return replaced


def escaped(value: Any) -> Any:
    """Returns the value with its texts escaped: OmegaConf finds no interpolation in them."""
    if isinstance(value, str):
        # A backslash before `\${` is doubled.
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, Mapping):
        return {name: escaped(part) for name, part in value.items()}
    return [escaped(part) for part in value] if isinstance(value, list | tuple) else value


def _kind(name: str, schema: type, table: KeyTable) -> Any:
    """Returns the annotation of a setting; `Any` inside a free mapping.

    `object` if the setting is unknown or its published value is converted.
    """
    if name in table.keys:
        key = table.keys[name]
        if key.convert is not unchanged:
            return object
        name = key.paths[0]
    kind: Any = schema
    for part in name.split("."):
        found = [member for member in _members(kind) if is_dataclass(member)]
        if not found:
            return Any
        kind = get_type_hints(found[0]).get(part, object)
    return kind


def _members(kind: Any) -> tuple[Any, ...]:
    """Returns the alternatives of a union, or the one type."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _value(text: str, parsed: Any, kind: Any) -> Any:
    """Returns the value of a text for a setting of this type; `parsed` is its value as YAML."""
    members = _members(kind)
    literals = [member for member in members if get_origin(member) is Literal]
    choices = [choice for literal in literals for choice in get_args(literal)]
    if NoneType in members and text in NOTHING:
        return None
    if list[str] in members and isinstance(parsed, list) and text.startswith("["):
        return escaped(yaml.load(text, yaml.BaseLoader))
    if str in members or Path in members or text in choices:
        return escaped(text)
    # Another schema checks a free mapping later.
    return escaped(parsed) if kind is Any else parsed
