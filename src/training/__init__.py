"""Training: one loop, and the tasks that it trains.

Other packages offer data by name, for tasks without a folder of clips; an offered function is
imported when a task asks for it.
"""

import importlib
from typing import Any

from ..runtime import InputError

_OFFERS: dict[str, str] = {}


def imported(place: str) -> Any:
    """Returns the function or class that is written `module:name`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def offer(name: str, place: str) -> None:
    """Offer the function `place`, written `module:function`, under a name."""
    _OFFERS[name] = place


def offered(name: str) -> Any:
    """Returns the function that is offered under a name; raises `InputError` if there is none."""
    if name not in _OFFERS:
        raise InputError("training data", f"none given, and no {name} are offered", "clips")
    return imported(_OFFERS[name])
