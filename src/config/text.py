"""Settings that are text, such as paths, taken as they were typed instead of read as YAML.

To YAML ` #` begins a comment, `2024_01_15` is a number and `no` is false; to OmegaConf `${HOME}` is
the name of another setting.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from .translation import KeyTable, unchanged

NOTHING = ("", "null", "Null", "NULL", "~")


def replace_texts(
    values: Mapping[str, Any], typed: Mapping[str, str], schema: type, table: KeyTable
) -> Mapping[str, Any]:
    """The values, those of settings of `schema` that are text as they were typed.

    Args:
        values: the keys of a layer, nested.
        typed: keys as they were written, dotted, and the text after their `=`.
        schema: the dataclass that is to hold the settings.
        table: where published keys go.
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
    """The value as OmegaConf has to be given it, so that it finds no interpolation in a text."""
    if isinstance(value, str):
        # A backslash before `\${` has to be said twice.
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, Mapping):
        return {name: escaped(part) for name, part in value.items()}
    return [escaped(part) for part in value] if isinstance(value, list | tuple) else value


def _kind(name: str, schema: type, table: KeyTable) -> Any:
    """The annotation of a setting; `Any` where it is none, or what is typed gets converted."""
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
    """The alternatives of a union, or the one type."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _value(text: str, parsed: Any, kind: Any) -> Any:
    """What a text means for a setting of this type; `parsed` is what YAML makes of it."""
    members = _members(kind)
    choices = [choice for member in members for choice in _choices(member)]
    if NoneType in members and text in NOTHING:
        return None
    if list[str] in members and isinstance(parsed, list) and text.startswith("["):
        return escaped(yaml.load(text, yaml.BaseLoader))
    if str in members or Path in members or text in choices:
        return escaped(text)
    # What lies in a free mapping is checked by another schema later.
    return escaped(parsed) if kind is Any else parsed


def _choices(member: Any) -> tuple[Any, ...]:
    return get_args(member) if get_origin(member) is Literal else ()
