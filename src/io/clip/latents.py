"""Latents on disk: the published `.pkl`, a torch zip archive around one pickled numpy array.

The array is float32 [1, channel, latent_frame, h, w]. A pickle is a program, so no name in it is
ever imported: the few that an array needs become inert stand-ins of this module, any other is
refused, and the array is built here from plain bytes.
"""

import io
import pickle
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...runtime import InputError
from ..damage import DAMAGES, open_archive, read_member, write_archive

EXPECTED = "a torch zip archive of one pickled float32 array [1, channel, latent_frame, h, w]"


def read_latents(path: Path) -> Float[Tensor, "channel latent_frame h w"]:
    """The latents of one clip as stored: normalised latents times 0.5.

    Raises `InputError` for a missing, truncated or foreign file, a pickle with other globals than a
    numpy array needs (nothing is executed), another type or rank, non-finite values.
    """
    with open_archive(path, EXPECTED) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise InputError(path, f"{len(names)} members data.pkl", EXPECTED)
        program = read_member(path, archive, names[0], expected=EXPECTED)
    array = _build(path, _unpickle(path, program))
    if array.ndim != 5 or array.shape[0] != 1 or array.size == 0:
        raise InputError(path, f"an array of shape {list(array.shape)}", EXPECTED)
    if not np.isfinite(array).all():
        raise InputError(path, "non-finite latents", "finite float32 latents")
    return torch.from_numpy(array[0])


def write_latents(path: Path, latents: Float[Tensor, "channel latent_frame h w"]) -> None:
    """Write finite latents of one clip atomically; `torch.load` returns them as a numpy array."""
    if not torch.isfinite(latents).all():
        raise InputError(path, "non-finite latents", "finite latents, are the weights sound?")
    array = np.ascontiguousarray(latents.detach().cpu().float().numpy())[None]
    # numpy 1 knows only `numpy.core`, newer versions both names. Protocol 3 is the last with the
    # name as a line of text and the first that stores bytes unchanged.
    program = pickle.dumps(array, protocol=3)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    assert program.count(old) + program[:64].count(new) == 1, f"unknown pickle {program[:64]!r}"
    members = [("data.pkl", program.replace(new, old, 1))]
    members += [("byteorder", b"little"), ("version", b"3\n")]
    write_archive(path, ((f"archive/{name}", content) for name, content in members))


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


def _unpickle(path: Path, program: bytes) -> _Array:
    try:
        result = _Unpickler(path, program).load()
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(path, f"a damaged pickle ({error})", EXPECTED) from error
    if not isinstance(result, _Array):
        raise InputError(path, f"a pickled {type(result).__name__.lstrip('_')}", EXPECTED)
    return result


def _build(path: Path, array: _Array) -> np.ndarray:
    dtype = array.dtype
    if not isinstance(dtype, _Dtype) or (dtype.code, dtype.order) != ("f4", "<"):
        raise InputError(path, f"an array of type {dtype}", EXPECTED)
    content, shape = array.content, array.shape
    if not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple):
        raise InputError(path, f"an array of {type(content).__name__}", EXPECTED)
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise InputError(path, f"an array of shape {shape}", EXPECTED)
    if len(content) != 4 * prod(shape):
        raise InputError(path, f"{len(content)} bytes for shape {shape}", EXPECTED)
    flat = np.frombuffer(content, dtype=np.float32).copy()
    return np.ascontiguousarray(flat.reshape(shape, order="F" if array.fortran else "C"))
