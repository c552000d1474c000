"""The tensors of a TorchScript archive by name, from its module tree.

`torch.jit.load` runs the programs in an archive (`__setstate__`), so it is never called. The tree
is a pickle of modules with their attributes; the text of a module's class lists its parameters and
buffers.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..runtime import InputError
from .archive import TorchFile
from .unpickler import Instance, StoredTensor, Symbol

EXPECTED = "a TorchScript archive of plain modules"
CLASS = re.compile(r"^class (\w+)\((\w+)\):\n((?:  .*\n?|\n)*)", re.MULTILINE)
LISTS = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
QUOTED = re.compile(r'"([^"]+)"')
RESTORES = re.compile(r"^  def __setstate__\(", re.MULTILINE)
# More than networks have; a tree of shared branches could be endless.
MOST_MODULES, MOST_LEVELS = 100_000, 64


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
        raise InputError(file.path, "no module", EXPECTED)
    found: dict[str, StoredTensor] = {}
    for count, (prefix, module) in enumerate(classes.modules("", file.value, 0)):
        if count == MOST_MODULES:
            raise InputError(file.path, f"over {MOST_MODULES} modules", EXPECTED)
        description, state = classes.of(module), module.state
        assert description is not None and isinstance(state, dict), "checked by `modules`"
        for name in sorted(description.tensors):
            value = state.get(name)
            if isinstance(value, StoredTensor):
                found[prefix + name] = value
            elif value is not None:
                raise InputError(file.path, f"no tensor under {prefix}{name}", EXPECTED)
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
                raise InputError(self.file.path, f"no {program}", EXPECTED)
            self._known[program] = _parse(self.file.program(program))
        return self._known[program].get(kind.name)

    def modules(self, prefix: str, module: Instance, level: int) -> Iterator[tuple[str, Instance]]:
        """Yield every module with the prefix of its tensors' names, shared ones at each place."""
        path, description = self.file.path, self.of(module)
        if description is not None and description.restores_itself:
            where = prefix.rstrip(".") or "the module"
            raise InputError(path, f"{where} is restored by a program (__setstate__)", EXPECTED)
        if not isinstance(module.state, dict) or level > MOST_LEVELS:
            raise InputError(path, f"{prefix or 'a module'} without attributes", EXPECTED)
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
