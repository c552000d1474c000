"""The settings of a configuration, one by one."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast


def leaves(schema: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted name and value of every field that is not a dataclass itself."""
    for item in fields(cast(Any, schema)):
        name, value = f"{prefix}{item.name}", getattr(schema, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
