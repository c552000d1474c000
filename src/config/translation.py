"""Published keys -> ours: published configurations are flat, ours are trees of dataclasses."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..runtime import InputError

# Stands for no value: our default stays.
KEEP = object()


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

        Raises:
            InputError: an unknown key, a variant that does not exist here, two keys that
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
