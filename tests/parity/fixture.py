"""A parity fixture: the outputs of the original on a small input, and their tolerances.

A folder with `fixture.json` (kind, description, config, tolerance) and `tensors.safetensors`, whose
keys are `weights/...`, `inputs/...`, `outputs/...` and `aux/...` (informational).
"""

import math
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from src.io.json_object import read_json_object
from src.runtime import InputError


class Config(dict[str, Any]):
    """A fixture's configuration, which notes the values that are read, nested ones too.

    A value that nobody has read is one that our code does not honour; see `run_fixture`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({key: _noting(value) for key, value in values.items()})
        self._read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return super().get(key, default)

    def items(self) -> ItemsView[str, Any]:
        self._read |= self.keys()
        return super().items()

    def values(self) -> ValuesView[Any]:
        self._read |= self.keys()
        return super().values()

    def require(self, **expected: Any) -> None:
        """Refuses other values of these keys, if they are there: ours are fixed."""
        for key, value in expected.items():
            if self.get(key, value) != value:
                raise InputError(f"config {key}", self[key], str(value))

    def describes(self, *keys: str) -> None:
        """Passes over keys that say how the stored inputs were made."""
        self._read |= {*keys}

    def unread(self) -> Iterator[str]:
        """Yields the keys of values that were not read, nested ones with dots."""
        for key, value in super().items():
            if key not in self._read:
                yield key
                continue
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Config):
                    yield from (f"{key}.{name}" for name in part.unread())


def _noting(value: Any) -> Any:
    if isinstance(value, dict):
        return Config(value)
    return [_noting(part) for part in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Tolerance:
    """Relative tolerances by norm: one for all outputs, others for single ones (0 = exact)."""

    rtol_norm: float | None
    per_output: dict[str, float]

    def of(self, output: str) -> float | None:
        """The tolerance of `output`, found by its full name or by the part after the last `/`."""
        for name in (output, output.rsplit("/", 1)[-1]):
            if name in self.per_output:
                return self.per_output[name]
        return self.rtol_norm


@dataclass(frozen=True)
class Fixture:
    """One fixture in memory; `raw` is the whole JSON, `path` the folder (for files in `data/`)."""

    path: Path
    name: str
    kind: str
    config: Config
    tolerance: Tolerance
    tensors: dict[str, Tensor]
    raw: dict

    def inputs(self, name: str) -> Tensor:
        """The input tensor called `name`."""
        return self._tensor(f"inputs/{name}")

    def outputs(self) -> dict[str, Tensor]:
        """All reference outputs by name."""
        return self.group("outputs/")

    def weights(self) -> dict[str, Tensor]:
        """All weights by checkpoint key."""
        return self.group("weights/")

    def group(self, prefix: str) -> dict[str, Tensor]:
        """All tensors whose key starts with `prefix`, which is removed from the names."""
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(prefix)
        }

    def _tensor(self, key: str) -> Tensor:
        if key not in self.tensors:
            raise InputError(self.path, f"no tensor {key!r}", f"one of {sorted(self.tensors)}")
        return self.tensors[key]


def load_fixture(folder: Path | str) -> Fixture:
    """Reads the fixture in `folder`; `InputError` for a missing, malformed or incomplete file."""
    path = Path(folder)
    source = path / "fixture.json"
    if not source.is_file():
        raise InputError(source, "no such file", "a fixture folder with fixture.json")
    raw = read_json_object(source)
    if not isinstance(raw.get("kind"), str):
        raise InputError(source, "no kind", "a JSON object with a string `kind`")
    config = raw.get("config", {})
    if not isinstance(config, dict):
        raise InputError(source, f"config {config!r}", "a JSON object")
    tolerance = _tolerance(source, raw.get("tolerance"))
    return Fixture(
        path=path,
        name=path.name,
        kind=raw["kind"],
        config=Config(config),
        tolerance=tolerance,
        tensors=_tensors(path),
        raw=raw,
    )


def _tolerance(source: Path, raw: object) -> Tolerance:
    if not isinstance(raw, dict) or "rtol_norm" not in raw:
        raise InputError(source, f"tolerance {raw!r}", "an object with `rtol_norm`")
    rtol, per_output = raw["rtol_norm"], raw.get("per_output", {})
    if not isinstance(per_output, dict):
        raise InputError(source, f"per_output {per_output!r}", "an object of numbers")
    for value in (*per_output.values(), *([] if rtol is None else [rtol])):
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise InputError(source, f"tolerance {value!r}", "a finite number >= 0")
    return Tolerance(rtol, {name: float(value) for name, value in per_output.items()})


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / "tensors.safetensors"
    # Fixtures of facts (rtol_norm null) consist of the JSON alone.
    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"unreadable ({error})", "a safetensors file") from error
