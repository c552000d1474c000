"""Text settings, such as paths, taken as typed instead of read as YAML.

In YAML ` #` begins a comment, `2024_01_15` is a number and `no` is false; in OmegaConf `${HOME}`
refers to another setting.
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
