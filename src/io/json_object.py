"""Untrusted JSON, and files of one object: configurations, descriptions, states."""

import json
from pathlib import Path
from typing import Any

from ..runtime import InputError
from .atomic import write_text

EXPECTED = "a JSON object"
# Sizes, counts, rates and scales are far smaller; a larger number is damage.
LARGEST = 1e9


def parse_json(source: object, text: str, expected: str = EXPECTED) -> Any:
    """The value in a text; `InputError` for malformed JSON or a key twice in an object."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise InputError(source, "malformed JSON (brackets nested deeply)", expected) from error
    except json.JSONDecodeError as error:
        found = f"malformed JSON in line {error.lineno} ({error.msg})"
        raise InputError(source, found, expected) from error
    except ValueError as error:
        raise InputError(source, f"malformed JSON ({error})", expected) from error


def read_text(path: Path, expected: str) -> str:
    """The text of a UTF-8 file; `InputError` if there is none, or another encoding."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected) from error
    except OSError as error:
        raise InputError(path, f"unreadable ({error.strerror})", expected) from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"malformed JSON ({error})", f"{expected} in UTF-8") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a file; `InputError` for a missing file, malformed JSON or another value."""
    value = parse_json(path, read_text(path, EXPECTED))
    if not isinstance(value, dict):
        raise InputError(path, f"a JSON {type(value).__name__}", EXPECTED)
    return value


def write_json(path: Path, content: object, indent: int = 1) -> None:
    """Write a value as a JSON file, atomically; `ValueError` for NaN and infinities."""
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def is_number(value: object, most: float = LARGEST) -> bool:
    """Whether a JSON value is a number of magnitude up to `most`, and no boolean.

    JSON has numbers of any size: 1e400 is read as infinity, an integer may exceed any float.
    """
    return isinstance(value, int | float) and type(value) is not bool and -most <= value <= most


def is_count(value: object, most: float = LARGEST) -> bool:
    """Whether a JSON value is an integer from 0 to `most`; no boolean, no 3.0."""
    return type(value) is int and 0 <= value <= most


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} twice in an object")
    return found
