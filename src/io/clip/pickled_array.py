"""A pickled numpy array, read without running the pickle.

A pickle is a program, so no name in it is ever imported: the few that an array needs become inert
stand-ins of this module, any other is refused, and the array is built here from plain bytes.
"""

import io
import pickle
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from ...runtime import InputError
from ..damage import DAMAGES


@dataclass
class _Dtype:
    """Stand-in for `numpy.dtype`: the type code, and the byte order from the state."""

    code: str
    align: bool = False
    copy: bool = False
    order: str = "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


@dataclass
class _Array:
    """Stand-in for `numpy.ndarray`, which `_reconstruct` makes empty and the state fills."""

    kind: type
    shape: tuple = ()
    code: object = None
    dtype: object = None
    fortran: bool = False
    content: object = field(default=b"", repr=False)

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state


def _from_buffer(content: object, dtype: object, shape: tuple, order: str) -> _Array:
    return _Array(_Array, shape, dtype=dtype, fortran=order == "F", content=content)


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 has no byte strings: it stores bytes as the characters of a text.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows only the stand-ins."""

    def __init__(self, path: Path, program: bytes) -> None:
        super().__init__(io.BytesIO(program))
        self.path = path

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for a global of the pickle; `InputError` names a foreign one."""
        if (module, name) not in STAND_INS:
            value = f"a pickle that calls for {module}.{name}"
            raise InputError(self.path, value, "a pickle of one numpy array, without other globals")
        return STAND_INS[module, name]


def unpickle_array(path: Path, program: bytes, expected: str) -> np.ndarray:
    """The float32 array in a pickle of `path`; `InputError` for anything else."""
    try:
        result = _Unpickler(path, program).load()
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(path, f"a damaged pickle ({error})", expected) from error
    if not isinstance(result, _Array):
        raise InputError(path, f"a pickled {type(result).__name__.lstrip('_')}", expected)
    return _build(path, result, expected)


def _build(path: Path, array: _Array, expected: str) -> np.ndarray:
    dtype = array.dtype
    if not isinstance(dtype, _Dtype) or (dtype.code, dtype.order) != ("f4", "<"):
        raise InputError(path, f"an array of type {dtype}", expected)
    content, shape = array.content, array.shape
    if not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple):
        raise InputError(path, f"an array of {type(content).__name__}", expected)
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise InputError(path, f"an array of shape {shape}", expected)
    if len(content) != 4 * prod(shape):
        raise InputError(path, f"{len(content)} bytes for shape {shape}", expected)
    flat = np.frombuffer(content, dtype=np.float32).copy()
    return np.ascontiguousarray(flat.reshape(shape, order="F" if array.fortran else "C"))
