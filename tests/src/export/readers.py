"""Readers of export formats, written from the specifications; no code is shared with the writers.

Each returns columns `x y z | alpha | scale 3 | quaternion wxyz | rgb`, one row a Gaussian.
"""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

C0 = 0.28209479177387814


def packed(
    xyz: np.ndarray, alpha: np.ndarray, scale: np.ndarray, quat: np.ndarray, rgb: np.ndarray
) -> np.ndarray:
    """One row a Gaussian, with unit quaternions."""
    quat = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    return np.concatenate([xyz, alpha.reshape(-1, 1), scale, quat, rgb], axis=1).astype(float)


def with_largest(three: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Quaternions of which the largest component was left out."""
    quat = np.empty((len(three), 4))
    places = np.arange(4) != largest[:, None]
    quat[places] = three.reshape(-1)
    quat[~places] = np.sqrt(np.clip(1 - (three**2).sum(1), 0, None))
    return quat


def read_ply_rows(path: Path) -> np.ndarray:
    """The 3DGS layout: little-endian float32 of any order."""
    data = path.read_bytes()
    end = data.index(b"end_header\n") + len(b"end_header\n")
    lines = data[:end].decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    (count,) = (int(line.split()[2]) for line in lines if line.startswith("element vertex "))
    rows = np.frombuffer(data, "<f4", offset=end).astype(float).reshape(count, len(names))

    def columns(*wanted: str) -> np.ndarray:
        return rows[:, [names.index(name) for name in wanted]]

    return packed(
        columns("x", "y", "z"),
        1 / (1 + np.exp(-columns("opacity"))),
        np.exp(columns("scale_0", "scale_1", "scale_2")),
        columns("rot_0", "rot_1", "rot_2", "rot_3"),
        columns("f_dc_0", "f_dc_1", "f_dc_2") * C0 + 0.5,
    )


def read_splat(path: Path) -> np.ndarray:
    """antimatter15's records of 32 bytes."""
    rows = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 32)
    floats = rows[:, :24].copy().view("<f4").reshape(-1, 6)
    quat = (rows[:, 28:].astype(float) - 128) / 128
    return packed(floats[:, :3], rows[:, 27] / 255, floats[:, 3:], quat, rows[:, 24:27] / 255)


def read_spz(path: Path) -> np.ndarray:
    """Version 3 of Niantic's format."""
    data = gzip.decompress(path.read_bytes())
    magic, version, count, degree, bits = struct.unpack("<IIIBB", data[:14])
    assert (magic, version, degree) == (0x5053474E, 3, 0)
    body, parts = np.frombuffer(data[16:], np.uint8), []
    for size in (9, 1, 3, 3, 4):
        parts.append(body[: count * size].reshape(count, size))
        body = body[count * size :]
    assert not len(body)
    triples = parts[0].reshape(count, 3, 3).astype(np.int64)
    fixed = triples[..., 0] | triples[..., 1] << 8 | triples[..., 2] << 16
    xyz = (fixed - ((fixed >> 23) << 24)) / (1 << bits)
    rgb = (parts[2] / 255 - 0.5) / 0.15 * C0 + 0.5
    word = parts[4].copy().view("<u4")[:, 0].astype(np.int64)
    return packed(xyz, parts[1] / 255, np.exp(parts[3] / 16 - 10.0), _smallest_three_spz(word), rgb)


def _smallest_three_spz(word: np.ndarray) -> np.ndarray:
    largest, quat = word >> 30, np.zeros((len(word), 4))
    for axis in (3, 2, 1, 0):
        others = largest != axis
        value = np.sqrt(0.5) * (word & 511) / 511 * np.where(word >> 9 & 1, -1, 1)
        quat[others, axis] = value[others]
        word = np.where(others, word >> 10, word)
    rest = np.sqrt(np.clip(1 - (quat**2).sum(1), 0, None))
    quat[np.arange(len(quat)), largest] = rest
    return quat[:, [3, 0, 1, 2]]


def read_compressed_ply(path: Path) -> np.ndarray:
    """PlayCanvas' chunks of 256."""
    data = path.read_bytes()
    end = data.index(b"end_header\n") + len(b"end_header\n")
    counts = [int(line.split()[2]) for line in data[:end].split(b"\n") if b"element" in line]
    chunks, vertices = counts[:2]
    floats = np.frombuffer(data, "<f4", chunks * 18, end).reshape(chunks, 18).astype(float)
    words = np.frombuffer(data, "<u4", vertices * 4, end + chunks * 72).reshape(vertices, 4)
    own = floats[np.arange(vertices) // 256]

    def between(low: int, word: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
        unit = _fields(word, widths)[:, :3]
        return own[:, low : low + 3] * (1 - unit) + own[:, low + 3 : low + 6] * unit

    color = _fields(words[:, 3], (8, 8, 8, 8))
    return packed(
        between(0, words[:, 0], (11, 10, 11)),
        color[:, 3],
        np.exp(between(6, words[:, 2], (11, 10, 11))),
        _smallest_three(words[:, 1]),
        between(12, words[:, 3], (8, 8, 8, 8)),
    )


def _fields(word: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """Bit fields from the highest on, in [0, 1]."""
    shift, fields = 32, []
    for width in widths:
        shift -= width
        fields.append((word >> shift & (1 << width) - 1) / ((1 << width) - 1))
    return np.stack(fields, axis=1)


def _smallest_three(word: np.ndarray) -> np.ndarray:
    three = (np.stack([word >> 20, word >> 10, word], axis=1) & 1023) / 1023 - 0.5
    return with_largest(three * np.sqrt(2), (word >> 30).astype(int))


def read_sog(path: Path) -> np.ndarray:
    """PlayCanvas' zip of WebP pictures, version 2."""
    with zipfile.ZipFile(path) as file:
        meta = json.loads(file.read("meta.json"))
        count = meta["count"]

        def pixels(name: str) -> np.ndarray:
            with Image.open(io.BytesIO(file.read(name))) as picture:
                return np.asarray(picture.convert("RGBA")).reshape(-1, 4)[:count].astype(np.int64)

        low, high = (pixels(name)[:, :3] for name in meta["means"]["files"])
        quats = pixels(meta["quats"]["files"][0])
        scales = pixels(meta["scales"]["files"][0])[:, :3]
        sh0 = pixels(meta["sh0"]["files"][0])
    mins, maxs = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    logs = mins + (maxs - mins) * (low | high << 8) / 65535
    quat = with_largest((quats[:, :3] / 255 - 0.5) * np.sqrt(2), quats[:, 3] - 252)
    return packed(
        np.sign(logs) * np.expm1(np.abs(logs)),
        sh0[:, 3] / 255,
        np.exp(np.array(meta["scales"]["codebook"])[scales]),
        quat,
        np.array(meta["sh0"]["codebook"])[sh0[:, :3]] * C0 + 0.5,
    )


def read_glb(path: Path) -> np.ndarray:
    """KHR_gaussian_splatting in one binary buffer of float32."""
    data = path.read_bytes()
    magic, version, length, size = struct.unpack("<4sIII", data[:16])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    content, body = json.loads(data[20 : 20 + size]), data[28 + size :]
    (node,) = content["nodes"]
    assert {*node} <= {"mesh", "name"}, "a node that moves or turns its mesh"
    (primitive,) = content["meshes"][0]["primitives"]
    extension = primitive["extensions"]["KHR_gaussian_splatting"]
    assert extension["colorSpace"] == "srgb_rec709_display"
    columns = {}
    for name, index in primitive["attributes"].items():
        accessor = content["accessors"][index]
        view = content["bufferViews"][accessor["bufferView"]]
        assert accessor["componentType"] == 5126
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        count, start = accessor["count"], view["byteOffset"]
        values = np.frombuffer(body, "<f4", count * width, start)
        columns[name.removeprefix("KHR_gaussian_splatting:")] = values.reshape(count, width)
    return packed(
        columns["POSITION"],
        columns["OPACITY"],
        columns["SCALE"],
        columns["ROTATION"][:, [3, 0, 1, 2]],
        columns["SH_DEGREE_0_COEF_0"] * C0 + 0.5,
    )
