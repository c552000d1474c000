"""3D Gaussians as PLY in the 3DGS convention, written and read; other formats by gaussforge.

A file holds logit opacities, natural logarithms of the scales, quaternions wxyz and the constant
term of spherical harmonics: `rgb = 0.5 + f_dc / (2 sqrt(pi))`. The published layout has only these
14 float32 properties; readers by name (SuperSplat, gsplat, the original training code) open it. The
original CUDA viewer expects a fixed record with normals and `f_rest_*`, too, which `padded=True`
writes as zeros. A header is compared with the file's length before anything is read.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..gaussians import Gaussians
from ..runtime import InputError, import_extra
from .atomic import atomic_path
from .damage import DAMAGES, check_file

# The constant spherical harmonic: colours are stored as its factor, with 0.5 taken off.
SH_CONSTANT = 0.5 / math.sqrt(math.pi)
OPACITY_MARGIN = 1e-6
SCALE_OFFSET = 1e-8
# Limits beyond which the reader refuses values as damage. exp(80) and its square are finite in
# single and double precision; writers store 1e30 as 69.
SHORTEST_QUATERNION, LONGEST_QUATERNION = 1e-6, 1e6
FARTHEST, LARGEST_LOG_SCALE = 1e12, 80.0
POSITION = ["x", "y", "z"]
COLOR = ["f_dc_0", "f_dc_1", "f_dc_2"]
OPACITY = ["opacity"]
SCALE = ["scale_0", "scale_1", "scale_2"]
ROTATION = ["rot_0", "rot_1", "rot_2", "rot_3"]
PROPERTIES = [*POSITION, *COLOR, *OPACITY, *SCALE, *ROTATION]
NORMAL = ["nx", "ny", "nz"]
HARMONICS = [f"f_rest_{index}" for index in range(45)]
PADDED_PROPERTIES = [*POSITION, *NORMAL, *COLOR, *HARMONICS, *OPACITY, *SCALE, *ROTATION]
# Spark and other browser viewers read version 3 of .spz and not version 4.
SPZ_VERSION = 3
EXPECTED = "a complete PLY file with an element `vertex`"
LONGEST_HEADER = 1 << 16
# More digits are damage; Python refuses numbers of thousands of digits.
LONGEST_NUMBER = 15
SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}


def write_ply(path: Path | str, gaussians: Gaussians, padded: bool = False) -> None:
    """Write one set of Gaussians as a binary little-endian PLY, atomically.

    Opacities are kept 1e-6 away from 0 and 1 and scales offset by 1e-8, so that all values are
    finite. `padded` adds zero normals and `f_rest_*` (248 instead of 56 bytes a Gaussian).
    """
    vertex = _to_file_values(gaussians)
    bad = int((~torch.isfinite(vertex)).any(dim=1).sum())
    assert bad == 0, f"{bad} of {len(vertex)} Gaussians have non-finite parameters"
    values = vertex.cpu().contiguous().numpy().astype("<f4", copy=False)
    properties = PROPERTIES
    if padded:
        properties, columns = PADDED_PROPERTIES, values
        values = np.zeros((len(columns), len(properties)), dtype="<f4")
        values[:, [properties.index(name) for name in PROPERTIES]] = columns
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(values)}"]
    lines += [f"property float {name}" for name in properties] + ["end_header", ""]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(lines).encode("ascii"))
        values.tofile(file)


def read_ply(path: Path | str) -> Gaussians:
    """The Gaussians of a 3DGS PLY, binary or ASCII, with activated parameters and unit quaternions.

    Properties are found by name; others are ignored. Without `f_rest_*` a colour that depends on
    the direction becomes its mean. Raises `InputError` for a truncated or foreign file, surplus
    bytes, missing 3DGS properties (listed), values that are not finite or far from any scene, a
    quaternion of length 0.
    """
    path = Path(path)
    table = read_vertices(path)
    kinds = {name: table.dtype[name].kind for name in table.dtype.names or ()}
    missing = [name for name in PROPERTIES if kinds.get(name, "") not in ("f", "i", "u")]
    if missing:
        value = f"a PLY without numbers called {', '.join(missing)}"
        raise InputError(path, value, f"the 3DGS properties {', '.join(PROPERTIES)}")
    vertex = np.empty((len(table), len(PROPERTIES)), dtype=np.float32)
    for column, name in enumerate(PROPERTIES):
        vertex[:, column] = table[name]
        if not np.isfinite(vertex[:, column]).all():
            raise InputError(path, f"non-finite values of {name}", "finite values")
    _refuse_absurd(path, vertex)
    return _from_file_values(torch.from_numpy(vertex))


def _refuse_absurd(path: Path, vertex: Float[np.ndarray, "gaussian 14"]) -> None:
    """Raise for finite values that are infinite or zero after activation."""
    lengths = np.square(vertex[:, -4:].astype(np.float64)).sum(axis=1)
    shortest, longest = SHORTEST_QUATERNION**2, LONGEST_QUATERNION**2
    absurd = lengths[(lengths < shortest) | (lengths > longest)]
    if len(absurd):
        value = f"a quaternion of length {absurd[0] ** 0.5:.3g}"
        raise InputError(path, value, "rotations that can be normalised")
    for names, most in ((POSITION + COLOR, FARTHEST), (SCALE, LARGEST_LOG_SCALE)):
        for name in names:
            column = vertex[:, PROPERTIES.index(name)]
            beyond = column[np.abs(column) > most]
            if len(beyond):
                expected = f"values between {-most:g} and {most:g}"
                raise InputError(path, f"{name} {beyond[0]:.3g}", expected)


def _to_file_values(gaussians: Gaussians) -> Float[Tensor, "gaussian 14"]:
    assert gaussians.means.ndim == 2, f"one set expected, got batch {gaussians.means.shape[:-2]}"
    gaussians = gaussians.map(lambda tensor: tensor.detach().float())
    opacities = gaussians.opacities.clamp(OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    parts = (
        gaussians.means,
        (gaussians.colors - 0.5) / SH_CONSTANT,
        torch.log(opacities / (1 - opacities))[:, None],
        torch.log(gaussians.scales.clamp(min=0) + SCALE_OFFSET),
        gaussians.quats,
    )
    return torch.cat(parts, dim=1)


def _from_file_values(vertex: Float[Tensor, "gaussian 14"]) -> Gaussians:
    means, f_dc, logits, log_scales, quats = vertex.split([3, 3, 1, 3, 4], dim=1)
    return Gaussians(
        means=means.contiguous(),
        opacities=torch.sigmoid(logits[:, 0]),
        scales=torch.exp(log_scales),
        quats=torch.nn.functional.normalize(quats, dim=1),
        colors=f_dc * SH_CONSTANT + 0.5,
    )


def write_compressed(path: Path, gaussians: Gaussians, kind: str) -> None:
    """Writes one set of Gaussians as a `compressed.ply`, `splat`, `spz` or `sog`.

    Raises `InputError` if gaussforge is not installed, or refuses the Gaussians.
    """
    gaussforge = import_extra("gaussforge", "export")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "scene.ply"
        write_ply(plain, gaussians)
        data = plain.read_bytes()
    result = gaussforge.GaussForge().convert(data, "ply", kind, spz_version=SPZ_VERSION)
    if "error" in result:
        raise InputError(path, f"no {kind} ({result['error']})", "Gaussians that gaussforge takes")
    with atomic_path(path) as temporary:
        temporary.write_bytes(result["data"])


@dataclass
class _Element:
    """An element of a header: the least bytes of a row, and whether all rows have as many."""

    name: str
    count: int
    row_bytes: int = 0
    fixed: bool = True


def read_vertices(path: Path) -> Shaped[np.ndarray, " vertex"]:
    """The rows of the element `vertex`; `InputError` for a damaged file or another length."""
    from plyfile import PlyData, PlyParseError

    check_file(path, EXPECTED)
    try:
        _check_length(path)
        return PlyData.read(str(path))["vertex"].data
    except InputError:
        raise
    except KeyError as error:
        raise InputError(path, "no element `vertex`", EXPECTED) from error
    except (PlyParseError, *DAMAGES) as error:
        reason = str(error)[:200] or type(error).__name__
        raise InputError(path, f"unreadable ({reason})", EXPECTED) from error


def _check_length(path: Path) -> None:
    """Raise for a file that is shorter or longer than its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    start = head.find(b"end_header")
    if not head.startswith(b"ply") or start < 0:
        raise InputError(path, "unreadable (no PLY header)", EXPECTED)
    end = start + len(b"end_header")
    end += 2 if head[end : end + 2] == b"\r\n" else 1
    # Old programs end lines with a single carriage return.
    lines = head[:start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = [line.split() for line in lines.decode("ascii", "replace").split("\n")]
    binary = not any(line[:2] == ["format", "ascii"] for line in lines)
    elements = _elements(path, lines)
    # A number in a text file takes at least a digit and a space.
    least = sum(e.count * max(e.row_bytes if binary else 2, 1) for e in elements if e.count)
    if least > size - end + (0 if binary else 1):
        value = f"unreadable (early end-of-file, {size - end} bytes of data)"
        raise InputError(path, value, f"{EXPECTED}, at least {least:.6g} bytes")
    if binary and all(element.fixed for element in elements) and least < size - end:
        value = f"{size - end - least} surplus bytes at the end"
        raise InputError(path, value, f"{EXPECTED} and nothing else")


def _elements(path: Path, lines: list[list[str]]) -> list[_Element]:
    elements: list[_Element] = []
    for words in lines:
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdecimal() or len(words[2]) > LONGEST_NUMBER:
                value = f"unreadable ({' '.join(words)[:80]})"
                raise InputError(path, value, f"{EXPECTED}, `element NAME COUNT`")
            elements.append(_Element(words[1], int(words[2])))
        elif words[:1] == ["property"] and elements:
            elements[-1].fixed = elements[-1].fixed and words[1:2] != ["list"]
            elements[-1].row_bytes += 1 if "list" in words[1:2] else _size(path, words)
    return elements


def _size(path: Path, words: list[str]) -> int:
    if len(words) != 3 or words[1] not in SIZES:
        value = f"unreadable ({' '.join(words)[:80]})"
        raise InputError(path, value, f"{EXPECTED}, `property TYPE NAME`")
    return SIZES[words[1]]
