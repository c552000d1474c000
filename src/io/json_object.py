"""JSON files that hold one object: configurations, descriptions, states."""

import json
from pathlib import Path
from typing import Any

from ..runtime import InputError

EXPECTED = "a JSON object"


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a file holds.

    Raises:
        InputError: no such file, malformed JSON, another value than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "no such file", EXPECTED) from error
    except ValueError as error:
        raise InputError(path, f"malformed JSON ({error})", EXPECTED) from error
    except RecursionError as error:
        raise InputError(path, "JSON nested too deeply", EXPECTED) from error
    if not isinstance(value, dict):
        raise InputError(path, f"a JSON {type(value).__name__}", EXPECTED)
    return value
