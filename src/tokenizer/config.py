"""The `config.json` of a tokenizer in diffusers' layout, checked before a network is built."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..io.json_object import is_count, is_number, read_json_object
from ..runtime import InputError

CONFIG_NAME = "config.json"
CLASS_NAME = "AutoencoderKLCosmos"
# The largest size or factor accepted; real ones are far smaller.
MOST = 65536
STATISTICS = ("latents_mean", "latents_std")


def read_config(path: Path) -> dict[str, Any]:
    """The configuration in a file; `InputError` unless it is one of diffusers' class."""
    config = read_json_object(path)
    if config.get("_class_name") != CLASS_NAME:
        raise InputError(path, f"_class_name = {config.get('_class_name')!r}", repr(CLASS_NAME))
    return config


def check_architecture(path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Raises `InputError` for unknown keys, wrong types, a network larger than its tensors."""
    from diffusers import AutoencoderKLCosmos

    signature = inspect.signature(AutoencoderKLCosmos.__init__)
    known = {name: part.default for name, part in signature.parameters.items() if name != "self"}
    widest = max((max(tensor.shape, default=0) for tensor in state.values()), default=0)
    for name, value in config.items():
        if name.startswith("_") or name in STATISTICS:
            continue
        if name not in known:
            raise InputError(path, f"unknown key {name!r}", f"keys among {sorted(known)}")
        if not _alike(value, known[name]):
            raise InputError(path, f"{name} = {value!r}"[:200], f"a value like {known[name]!r}")
        # A small file must not describe a network that fills the memory.
        limit = len(state) if name == "num_layers" else widest
        if "channels" in name or name == "num_layers":
            for number in value if isinstance(value, list) else [value]:
                if number > limit:
                    expected = f"at most {limit}, by the tensors beside it"
                    raise InputError(path, f"{name} = {value!r}"[:200], expected)


def _alike(value: object, default: object) -> bool:
    """Whether `value` has the type of `default`, integers positive, a list in a tuple's place."""
    if isinstance(default, tuple):
        return isinstance(value, list) and bool(value) and all(_alike(v, 1) for v in value)
    if isinstance(default, float):
        return is_number(value)
    if isinstance(default, int):
        return is_count(value, MOST) and value != 0
    return type(value) is type(default)
