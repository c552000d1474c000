"""Reads pickles of tensors without importing or calling anything that they name.

A pickle is a program: it names functions and calls them. Here a name becomes a `Symbol`, a call of
one of the few known builders gives a description of a tensor or a dictionary, and every other call
gives an inert `Instance`. The program never reaches a callable object.
"""

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from typing import Any, NamedTuple

import torch

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    # The call that makes the tensor gives the type of its numbers.
    "UntypedStorage": torch.uint8,
}
MOST_DIMENSIONS, MOST_NUMBER = 16, 2**48


class Symbol(NamedTuple):
    """A name that a pickle imports."""

    module: str
    name: str


@dataclass(eq=False)
class Instance:
    """An object of a foreign class; `state` is the value that it would be restored from."""

    kind: object
    state: object = None

    def __setitem__(self, key: object, value: object) -> None:
        """Drop the item."""

    def append(self, item: object) -> None:
        """Drop the item."""

    add = append


class Storage(NamedTuple):
    """A row of numbers of one type; `key` is its name in the file."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in a storage; none of it is read yet."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def read_pickle(source: BytesIO | mmap) -> tuple[Any, list[Storage]]:
    """The value of the pickle at the position of `source`, and all storages that it names.

    The value consists of plain values, `StoredTensor`s, `Symbol`s, and an `Instance` for all else.
    A damaged pickle, or a tensor beyond its storage, raises one of `DAMAGES` or `AssertionError`.
    """
    reader = _Reader(source)
    return reader.load(), reader.storages


class _Reader(pickle._Unpickler):
    """An unpickler that imports nothing and calls only the builders below.

    Based on the one in Python: the one in C reserves memory for any number that a file names.
    """

    dispatch: dict[int, Callable[..., None]]
    stack: list[Any]
    append: Callable[[object], None]
    pop_mark: Callable[[], list[Any]]
    readline: Callable[[], bytes]

    def __init__(self, source: BytesIO | mmap) -> None:
        super().__init__(source)
        self.storages: list[Storage] = []

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The name itself."""
        return Symbol(str(module_name), str(global_name))

    def persistent_load(self, pid: Any, /) -> object:
        """The storage that a tuple describes; whole modules, as in old files, are inert."""
        if pid[0] != "storage":
            return Instance(pid[0])
        _, kind, key, _, numel, *view = pid
        if any(view):
            raise pickle.UnpicklingError("a view of another storage, as torch 0.3 wrote it")
        _check_numbers(numel)
        self.storages.append(Storage(str(key), STORAGES[kind.name], numel))
        return self.storages[-1]

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        build = BUILDERS.get(function) if isinstance(function, Symbol) else None
        self.append(build(*arguments) if build else Instance(function))

    def _new(self) -> None:
        self.stack.pop()
        self.append(Instance(self.stack.pop()))

    def _new_with_keywords(self) -> None:
        self.stack.pop()
        self._new()

    def _object(self) -> None:
        # The class is the first item after the mark.
        self.append(Instance(self.pop_mark()[0]))

    def _instance(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.pop_mark()
        self.append(Instance(Symbol(module, name)))

    def _restore(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Instance):
            self.stack[-1].state = state

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("a name by number")


_Reader.dispatch = {
    **pickle._Unpickler.dispatch,
    pickle.REDUCE[0]: _Reader._call,
    pickle.NEWOBJ[0]: _Reader._new,
    pickle.NEWOBJ_EX[0]: _Reader._new_with_keywords,
    pickle.OBJ[0]: _Reader._object,
    pickle.INST[0]: _Reader._instance,
    pickle.BUILD[0]: _Reader._restore,
    pickle.EXT1[0]: _Reader._refuse,
    pickle.EXT2[0]: _Reader._refuse,
    pickle.EXT4[0]: _Reader._refuse,
}


def _table(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: object) -> StoredTensor:
    return _checked(storage, storage.dtype, offset, shape=tuple(shape), stride=tuple(stride))


def _typed_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StoredTensor:
    _grad, _hooks, dtype, *_ = rest
    kind = getattr(torch, dtype.name) if dtype.module == "torch" else None
    if not isinstance(kind, torch.dtype):
        raise pickle.UnpicklingError(f"type {dtype.name!r} of a tensor")
    return _checked(storage, kind, offset, shape=tuple(shape), stride=tuple(stride))


def _parameter(data: object, *_: object) -> object:
    return data


def _checked(
    storage: Storage,
    dtype: torch.dtype,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
) -> StoredTensor:
    """The tensor; refused if it exceeds its storage or has more numbers than the storage."""
    if not isinstance(storage, Storage) or len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor without a storage, or of two dimensions")
    if len(shape) > MOST_DIMENSIONS:
        raise pickle.UnpicklingError(f"a tensor of {len(shape)} dimensions")
    _check_numbers(offset, *shape, *stride)
    room = storage.numel * storage.dtype.itemsize // dtype.itemsize
    reach = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    count = math.prod(shape)
    if count and (reach >= room or count > room):
        raise pickle.UnpicklingError(f"a tensor {list(shape)} in a storage of {room} numbers")
    return StoredTensor(storage, dtype, offset, shape=shape, stride=stride)


def _check_numbers(*numbers: object) -> None:
    for number in numbers:
        if not isinstance(number, int) or not 0 <= number < MOST_NUMBER:
            raise pickle.UnpicklingError("a size, step or offset that no tensor has")


BUILDERS: Mapping[Symbol, Callable[..., object]] = {
    Symbol("collections", "OrderedDict"): _table,
    Symbol("torch._utils", "_rebuild_tensor"): _tensor,
    Symbol("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Symbol("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    Symbol("torch._utils", "_rebuild_parameter"): _parameter,
    Symbol("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}
