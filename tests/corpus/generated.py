"""Inputs of the corpus that are smaller to write than to keep: each function makes one file."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[Path], None]
POSE = np.eye(4).tolist()
LENS = [50.0, 50.0, 32.0, 24.0]
CAMERAS: dict[str, Any] = {"width": 64, "height": 48, "c2w": [POSE, POSE], "intrinsics": LENS}
DEPTH = np.full((12, 16), 2.0, dtype=np.float32)
PLY_NAMES = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"


def cameras(**changes: Any) -> Make:
    """A JSON camera file with some values changed, or left out where they are None."""
    values = {key: value for key, value in {**CAMERAS, **changes}.items() if value is not None}
    return lambda path: _write(path, json.dumps(values).encode())


def content(data: bytes) -> Make:
    """A file of these bytes."""
    return lambda path: _write(path, data)


def arrays(**values: Any) -> Make:
    """An npz of these arrays."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **values)

    return make


def npy_header(shape: str, data: bytes = b"", kind: str = "'<f4'") -> bytes:
    """The bytes of an .npy file with this text for its shape."""
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def zipped(
    name: str, data: bytes, compression: int = zipfile.ZIP_DEFLATED, patch: tuple[int, int] = (0, 0)
) -> Make:
    """A zip of one member; `patch` sets two bytes at an offset of both its headers."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr(name, data)
        if patch[0]:
            found = bytearray(path.read_bytes())
            directory = found.rindex(b"PK\x01\x02")
            # The directory has two bytes more in front of what both have.
            found[patch[0] : patch[0] + 2] = struct.pack("<H", patch[1])
            place = directory + patch[0] + 2
            found[place : place + 2] = struct.pack("<H", patch[1])
            path.write_bytes(found)

    return make


def flipped(make: Make, place: int) -> Make:
    """What `make` makes, with one byte changed, counted from the end where it is negative."""

    def damaged(path: Path) -> None:
        make(path)
        found = bytearray(path.read_bytes())
        found[place] ^= 0x10
        path.write_bytes(found)

    return damaged


def bomb(name: str, megabytes: int) -> Make:
    """A deflated member of zeros that is a thousand times as large as its file."""

    def make(path: Path) -> None:
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(name, "w", force_zip64=True) as file,
        ):
            for _ in range(megabytes):
                file.write(bytes(1 << 20))

    return make


def _torch_tensor(numel: int, stride: int = 1) -> bytes:
    """The pickle, in its text form, of one tensor of `numel` numbers."""
    storage = f"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{numel}\ntQ"
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I0\n(I{numel}\nt(I{stride}\ntI00\nNtR"
    return tensor.encode()


def torch_archive(program: bytes, numbers: int, compression: int = zipfile.ZIP_STORED) -> Make:
    """A file of torch: a program in the text form of pickles, and so many bytes of numbers."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("a/data.pkl", program, zipfile.ZIP_STORED)
            with archive.open("a/data/0", "w", force_zip64=True) as file:
                for _ in range(numbers >> 20):
                    file.write(bytes(1 << 20))
                file.write(bytes(numbers % (1 << 20)))

    return make


# Small files that ask for gigabytes, each a list of tensors.
TORCH_BOMBS: dict[str, Make] = {
    "deflated numbers": torch_archive(
        b"(" + _torch_tensor(1 << 26) + b"l.", 1 << 28, zipfile.ZIP_DEFLATED
    ),
    "a storage of 10^12 numbers": torch_archive(b"(" + _torch_tensor(10**12) + b"l.", 64),
    "a storage of 10^30 numbers": torch_archive(b"(" + _torch_tensor(10**30) + b"l.", 64),
    "a step of 0": torch_archive(
        b"(" + _torch_tensor(16).replace(b"(I16\nt(I1", b"(I999999999\nt(I0") + b"l.", 64
    ),
    "copies of a storage": torch_archive(b"(" + _torch_tensor(1 << 18) * 3000 + b"l.", 1 << 20),
    "lists in lists": torch_archive(b"(" * 100 + b"l" * 100 + b".", 64),
}


def ply(changes: dict[str, float], count: str = "1", surplus: bytes = b"") -> Make:
    """A PLY of one Gaussian with some values changed; its header tells `count`."""
    names = PLY_NAMES.split()
    row = {**dict.fromkeys(names, 0.0), "rot_0": 1.0, **changes}
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [f"property float {name}" for name in names] + ["end_header", ""]
    data = struct.pack("<14f", *(row[name] for name in names))
    return content("\n".join(lines).encode() + data + surplus)


def transforms(**changes: Any) -> Make:
    """A transforms.json: the second camera, written first, stands a step to its right, level."""
    forward = [[1, 0, 0, 3], [0, 1, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]]
    right = [[1, 0, 0, 4], [0, 1, 0, 4.5], [0, 0, 1, 5]]
    frames = [
        {"file_path": "images/frame_10.png", "transform_matrix": right},
        {"file_path": "images/frame_9.png", "transform_matrix": forward},
    ]
    values = {"camera_model": "OPENCV", "fl_x": 50, "fl_y": 51, "cx": 30, "cy": 20}
    values |= {"w": 64, "h": 48, "frames": frames, "aabb_scale": 16}
    values = {key: value for key, value in {**values, **changes}.items() if value is not None}
    return lambda path: _write(path, json.dumps(values).encode())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
