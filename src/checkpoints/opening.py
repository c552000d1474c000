"""Opens files of weights of every format, and reads the tensors that are wanted.

Names, shapes and types come from headers and pickles alone; numbers are mapped and read when they
are used. Nothing in a file is executed: `torch.jit.load` would run the programs in an archive
(`__setstate__`), so the tensors of TorchScript come from its tree, a pickle of modules with their
attributes; the text of a module's class lists its parameters and buffers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..runtime import InputError, listed
from .archive import TORCHSCRIPT, TorchFile, open_torch_file
from .kinds import check_weights_file, is_safetensors
from .unpickler import Instance, StoredTensor, Symbol

EXPECTED = "a file of weights: safetensors, or a torch file of tensors by name"
SAFETENSORS = "safetensors"
# Keys under which trainings and frameworks put weights, and prefixes of their tensors' names.
WRAPPERS = ("model", "module", "state_dict", "model_state_dict", "network", "generator")
PREFIXES = ("module.", "network.", "model.", "_orig_mod.", "_forward_module.")
DEEPEST = 4
# The types in the header of a safetensors file.
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PLAIN_MODULES = "a TorchScript archive of plain modules"
CLASS = re.compile(r"^class (\w+)\((\w+)\):\n((?:  .*\n?|\n)*)", re.MULTILINE)
LISTS = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
QUOTED = re.compile(r'"([^"]+)"')
RESTORES = re.compile(r"^  def __setstate__\(", re.MULTILINE)
# More than networks have; a tree of shared branches could be endless.
MOST_MODULES, MOST_LEVELS = 100_000, 64


# A tensor in a file whose numbers are not read: on the meta device, or a place in a torch file.
Unread: TypeAlias = Tensor | StoredTensor


@dataclass(frozen=True)
class Weights:
    """An open file of weights: its format and its unread tensors by name.

    `others` are names without a tensor, `wrappers` the keys around the tensors, outermost first,
    `beside` the other keys of the outermost wrapper, as of a training's state.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Unread]
    others: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    _file: TorchFile | None = None

    def read(self, names: Mapping[str, str] | None = None) -> dict[str, Tensor]:
        """The tensors on the CPU, mapped: those of `names` (theirs -> new ones), or all."""
        renamed = {name: name for name in self.tensors} if names is None else names
        if self._file is not None:
            stored = ((new, self.tensors[name]) for name, new in renamed.items())
            read = self._file.tensor
            return {new: read(part) for new, part in stored if isinstance(part, StoredTensor)}
        from safetensors import safe_open

        with safe_open(self.path, "pt") as file:
            return {new: file.get_tensor(name) for name, new in renamed.items()}


def open_weights(path: Path) -> Weights:
    """The weights in a file; `InputError` names other content, damage, or missing tensors."""
    check_weights_file(path, EXPECTED)
    if is_safetensors(path):
        return Weights(path, SAFETENSORS, _header(path))
    file = open_torch_file(path)
    if file.kind == TORCHSCRIPT:
        return Weights(path, file.kind, module_tensors(file), _file=file)
    return _unwrap(file)


def read_tensors(path: Path, marker: str) -> dict[str, Tensor]:
    """All tensors of a file by plain name (see `plain_names`); `InputError` for other values."""
    weights = open_weights(path)
    if weights.others:
        raise InputError(path, f"no tensors under {listed(list(weights.others))}", EXPECTED)
    return weights.read(plain_names(weights.tensors, marker))


def plain_names(names: Mapping[str, object], marker: str) -> dict[str, str]:
    """Maps each name to the name without the prefix (of `PREFIXES`) that the name `marker` has."""
    prefix = next(filter(None, (_prefix(name, marker) for name in names)), "")
    if marker in names:
        prefix = ""
    return {name: name.removeprefix(prefix) for name in names}


def _prefix(name: str, marker: str) -> str | None:
    """Returns the prefix of a name before `marker`, if it is a sequence of `PREFIXES`."""
    if not name.endswith(marker):
        return None
    rest = before = name.removesuffix(marker)
    while rest:
        found = next((prefix for prefix in PREFIXES if rest.startswith(prefix)), None)
        if found is None:
            return None
        rest = rest.removeprefix(found)
    return before


def _header(path: Path) -> dict[str, Tensor]:
    """The tensors that a safetensors file states, on the meta device; its library checks them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: torch.empty(part.get_shape(), dtype=TYPES[part.get_dtype()], device="meta")
                for name, part in parts.items()
            }
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(path, f"unreadable ({error})", "a complete safetensors file") from error


def _unwrap(file: TorchFile) -> Weights:
    """The tensors of a torch file, without their wrappers."""
    value, wrappers, beside = file.value, [], ()
    for _ in range(DEEPEST):
        inner = _inner(value)
        if inner is None:
            break
        if not wrappers:
            beside = tuple(str(key) for key in value if key != inner)
        wrappers.append(inner)
        value = value[inner]
    if not isinstance(value, Mapping):
        raise InputError(file.path, f"a {type(value).__name__}", EXPECTED)
    parts = {str(name): part for name, part in value.items()}
    tensors = {name: part for name, part in parts.items() if isinstance(part, StoredTensor)}
    others = tuple(name for name in parts if name not in tensors)
    if others and not tensors:
        raise InputError(file.path, f"no tensors under {listed(list(others))}", EXPECTED)
    return Weights(
        file.path,
        file.kind,
        tensors,
        others=others,
        wrappers=tuple(wrappers),
        beside=beside,
        _file=file,
    )


def _inner(value: Any) -> str | None:
    """The key of the weights in their wrapper; None where `value` has tensors of its own."""
    if not isinstance(value, Mapping) or any(isinstance(v, StoredTensor) for v in value.values()):
        return None
    return next((key for key in WRAPPERS if isinstance(value.get(key), Mapping)), None)


class ModuleClass(NamedTuple):
    """The tensors that the text of a class lists, and whether it has a `__setstate__`."""

    tensors: frozenset[str]
    restores_itself: bool


def module_tensors(file: TorchFile) -> dict[str, StoredTensor]:
    """The tensors of the loaded archive's `state_dict()`, in another order.

    Raises `InputError` for another value than a module, a module that a program restores, and an
    endless tree.
    """
    classes = _Classes(file)
    if not isinstance(file.value, Instance) or classes.of(file.value) is None:
        raise InputError(file.path, "no module", PLAIN_MODULES)
    found: dict[str, StoredTensor] = {}
    for count, (prefix, module) in enumerate(classes.modules("", file.value, 0)):
        if count == MOST_MODULES:
            raise InputError(file.path, f"over {MOST_MODULES} modules", PLAIN_MODULES)
        description, state = classes.of(module), module.state
        assert description is not None and isinstance(state, dict), "checked by `modules`"
        for name in sorted(description.tensors):
            value = state.get(name)
            if isinstance(value, StoredTensor):
                found[prefix + name] = value
            elif value is not None:
                raise InputError(file.path, f"no tensor under {prefix}{name}", PLAIN_MODULES)
    return found


class _Classes:
    """The classes of an archive, each program read once."""

    def __init__(self, file: TorchFile) -> None:
        self.file = file
        self._known: dict[str, dict[str, ModuleClass]] = {}

    def of(self, instance: Instance) -> ModuleClass | None:
        """The class of an instance; None if it is no module."""
        kind = instance.kind
        if not isinstance(kind, Symbol) or kind.module.split(".")[0] != "__torch__":
            return None
        program = f"code/{kind.module.replace('.', '/')}.py"
        if program not in self._known:
            if program not in self.file.code:
                raise InputError(self.file.path, f"no {program}", PLAIN_MODULES)
            self._known[program] = _parse(self.file.program(program))
        return self._known[program].get(kind.name)

    def modules(self, prefix: str, module: Instance, level: int) -> Iterator[tuple[str, Instance]]:
        """Yield every module with the prefix of its tensors' names, shared ones at each place."""
        path, description = self.file.path, self.of(module)
        if description is not None and description.restores_itself:
            where = prefix.rstrip(".") or "the module"
            raise InputError(
                path, f"{where} is restored by a program (__setstate__)", PLAIN_MODULES
            )
        if not isinstance(module.state, dict) or level > MOST_LEVELS:
            raise InputError(path, f"{prefix or 'a module'} without attributes", PLAIN_MODULES)
        yield prefix, module
        for name, value in module.state.items():
            if isinstance(value, Instance) and self.of(value) is not None:
                yield from self.modules(f"{prefix}{name}.", value, level + 1)


def _parse(text: str) -> dict[str, ModuleClass]:
    """The modules of a program by name."""
    modules = {}
    for name, base, body in CLASS.findall(text):
        if base == "Module":
            names = {quoted for row in LISTS.findall(body) for quoted in QUOTED.findall(row)}
            modules[name] = ModuleClass(frozenset(names), bool(RESTORES.search(body)))
    return modules
