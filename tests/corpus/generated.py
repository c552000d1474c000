"""Inputs of the corpus that are smaller to write than to keep: each function makes one file."""

import json
import struct
import zipfile
from collections.abc import Callable, Sequence
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


# The second image, written first, stands a step to the right of the first, half a step down.
COLMAP_CAMERAS = ((1, 1, 64, 48, (50.0, 51.0, 30.0, 20.0)), (7, 4, 9, 9, (5.0,) * 8))
COLMAP_IMAGES = (
    (2, (1.0, 0, 0, 0, -1.0, -0.5, 0), 1, "frame_10.png", 2),
    (1, (1.0, 0, 0, 0, 0, 0, 0), 1, "frame_9 b.png", 0),
)
COLMAP_NAMES = {0: "SIMPLE_PINHOLE", 1: "PINHOLE", 2: "SIMPLE_RADIAL", 4: "OPENCV"}


def colmap_files(
    binary: bool, cameras: Sequence[Any] = COLMAP_CAMERAS, images: Sequence[Any] = COLMAP_IMAGES
) -> dict[str, bytes]:
    """The two files of a COLMAP model, by the description of its formats.

    A camera is (number, model, width, height, parameters), an image (number, qw qx qy qz tx ty tz,
    camera, name, how many points).
    """
    if not binary:
        rows = [(n, COLMAP_NAMES[m], w, h, *p) for n, m, w, h, p in cameras]
        lenses = "\n".join(["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", *map(_row, rows)])
        lines = [
            f"{_row((number, *pose, camera, name))}\n{_row((1.5, 2.5, -1) * points)}"
            for number, pose, camera, name, points in images
        ]
        text = "\n".join(["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", *lines])
        return {"cameras.txt": f"{lenses}\n".encode(), "images.txt": f"{text}\n".encode()}
    content = {"cameras.bin": struct.pack("<Q", len(cameras))}
    for number, model, width, height, parameters in cameras:
        content["cameras.bin"] += struct.pack("<IiQQ", number, model, width, height)
        content["cameras.bin"] += struct.pack(f"<{len(parameters)}d", *parameters)
    content["images.bin"] = struct.pack("<Q", len(images))
    for number, pose, camera, name, points in images:
        content["images.bin"] += struct.pack("<I7dI", number, *pose, camera) + name.encode()
        content["images.bin"] += b"\0" + struct.pack("<Q", points)
        content["images.bin"] += struct.pack("<ddq", 1.5, 2.5, -1) * points
    return content


def colmap(binary: bool, without: str = "", **parts: Sequence[Any]) -> Make:
    """The folder of a COLMAP model, `without` one of its files."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, data in colmap_files(binary, **parts).items():
            if name != without:
                _write(path / name, data)

    return make


def _row(values: Sequence[object]) -> str:
    return " ".join(map(str, values))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
