"""The record of a result's origin: digests of inputs and weights, and the settings that matter.

A record is a nested dictionary of JSON values. A finished result with the record of the present run
is kept; one with another record is refused, never mixed with new results.
"""

import json
from collections.abc import Mapping
from typing import Any

from ...runtime import InputError

# Characters of a value that a message shows.
SHOWN = 60


def plain(record: Mapping[str, object]) -> dict[str, Any]:
    """The record as JSON returns it: tuples become lists, keys become texts."""
    return json.loads(json.dumps(dict(record)))


def check_made_from(
    source: object, stored: Mapping[str, Any], wanted: Mapping[str, object], way_out: str
) -> None:
    """Raise `InputError` if a finished result's record differs from the `wanted` one.

    It names the file `source`, the first difference and the number of the others. `way_out` is
    advice for the user, such as the flag that overwrites.
    """
    old, new = _flat(stored), _flat(plain(wanted))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    if not names:
        return
    first, more = names[0], len(names) - 1
    others = f" (and {more} other differences)" if more else ""
    value = f"{first} = {_shown(old, first)} of an earlier run{others}"
    raise InputError(source, value, f"{_shown(new, first)}; {way_out}")


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their path, such as `settings.height`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _shown(flat: Mapping[str, Any], name: str) -> str:
    if name not in flat:
        return "nothing"
    text = repr(flat[name])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
