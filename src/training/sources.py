"""Sources of training data that other packages offer, by name.

A task without a folder of clips asks here for another source. This package has none: whoever has
one says so with `offer`, and nothing is imported before somebody asks for it.
"""

import importlib
from typing import Any

from ..runtime import InputError

_OFFERS: dict[str, str] = {}


def offer(name: str, place: str) -> None:
    """Make the function `place`, written `module:function`, available under a name."""
    _OFFERS[name] = place


def offered(name: str) -> Any:
    """The function that is offered under this name, imported now.

    Raises:
        InputError: nobody offers one.
    """
    if name not in _OFFERS:
        raise InputError("training data", f"none given, and no {name} are offered", "clips")
    module, _, function = _OFFERS[name].partition(":")
    return getattr(importlib.import_module(module), function)
