"""Readers of formats that hold times or cameras, written from the specifications.

No code is shared with the writers. Gaussians are rows as in `readers.py`.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.src.export.readers import C0, packed, with_largest

NUMBER = re.compile(r"[^-+.\w]+")


def read_usda(text: str) -> tuple[dict[str, str], dict[float | None, np.ndarray]]:
    """The metadata of a stage in text, and the Gaussians of each time code; None without times."""
    head = text[text.index("(") + 1 : text.index(")")]
    stage = dict(line.strip().split(" = ") for line in head.strip().splitlines())
    names = ("positions", "opacities", "scales", "orientations")
    columns = [_samples(text, name) for name in names]
    colors = _samples(text, "radiance:sphericalHarmonicsCoefficients")
    moments = {}
    for code, xyz in columns[0].items():
        _, alpha, scale, quat = (column[code] for column in columns)
        moments[code] = packed(
            xyz.reshape(-1, 3),
            alpha,
            scale.reshape(-1, 3),
            quat.reshape(-1, 4),
            colors[code].reshape(-1, 3) * C0 + 0.5,
        )
    return stage, moments


def _samples(text: str, name: str) -> dict[float | None, np.ndarray]:
    """The numbers of an array by its time code."""
    still = re.search(rf"\[\] {name} = \[([^\]]*)\]", text)
    if still:
        return {None: _numbers(still[1])}
    (inside,) = re.findall(rf"\[\] {name}\.timeSamples = \{{([^}}]*)\}}", text)
    pairs = re.findall(r"([-+.\de]+): \[([^\]]*)\]", inside)
    return {float(code): _numbers(values) for code, values in pairs}


def _numbers(values: str) -> np.ndarray:
    words = [word for word in NUMBER.split(values) if word]
    return np.array(words, dtype=np.float32).astype(float)


@dataclass
class Splats4d:
    """A .4dgs file: its Gaussians, when each is shown, and what the file says of itself."""

    rows: np.ndarray
    windows: np.ndarray
    duration: float
    labels: dict[str, str] = field(default_factory=dict)


class Bytes:
    """Little-endian values, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple:
        """The values of a `struct` format."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def blob(self, size: str) -> bytes:
        """Bytes after their number."""
        (length,) = self.take(size)
        self.at += length
        return self.data[self.at - length : self.at]

    def labels(self) -> dict[str, str]:
        """Pairs of texts."""
        pairs, found = Bytes(self.blob("I")), {}
        while pairs.at < len(pairs.data):
            key = pairs.blob("I").decode()
            found[key] = pairs.blob("I").decode()
        return found


def read_4dgs(path: Path) -> Splats4d:
    """The container of 4dgs, version 1, without motion: header, grids, windows, chunks."""
    records = Bytes(path.read_bytes())
    assert records.data.startswith(b"\x894DGS1\r\n")
    assert records.data.endswith(b"\x894DGS1\r\n")
    records.at = 8
    found: dict[int, list[Bytes]] = {}
    while records.at < len(records.data) - 8:
        (code,) = records.take("B")
        found.setdefault(code, []).append(Bytes(records.blob("Q")))
    (header,), (grid,), (table,) = found[1], found[3], found[4]
    header.blob("I")
    header.blob("I")
    duration, count, _ = header.take("dQd")
    assert header.blob("I") == b"gaussian-birth"
    header.take("6dBB")
    assert grid.blob("I") == b"uniform-v1"
    origin, steps = np.array(grid.take("3d")), grid.take("8d")
    windows = np.array([table.take("2d") for _ in range(*table.take("I"))])
    chunks = [_chunk(chunk, origin, steps=steps) for chunk in found[5]]
    rows, numbers = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    assert len(rows) == count
    return Splats4d(rows, windows[numbers], duration, header.labels())


def _chunk(
    chunk: Bytes, origin: np.ndarray, steps: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The Gaussians of a chunk and the numbers of their windows."""
    chunk.take("ddII")
    assert chunk.blob("I") == b""
    chunk.take("Q")
    inside, streams = Bytes(chunk.blob("Q")), {}
    while inside.at < len(inside.data):
        name, values = _stream(inside)
        streams[name] = values
    # Nothing moves, and nothing fades.
    assert not streams[6].any() and (streams[9] == 1).all()
    green, red, blue = streams[4].T
    colors = np.stack([red + green, green, blue + green], axis=1)
    rows = packed(
        streams[0] * steps[0] + origin,
        streams[5] * steps[4],
        np.exp(streams[1] * steps[1]),
        with_largest(streams[3] * steps[2], streams[2][:, 0])[:, [3, 0, 1, 2]],
        colors * steps[3],
    )
    return rows, streams[10][:, 0]


def _stream(inside: Bytes) -> tuple[int, np.ndarray]:
    """An attribute's integers: zigzag, in byte planes, deflated; raw, as differences, or one."""
    name, width, mode, codec, channels, count = inside.take("BBBBBI")
    assert codec == 0
    planes = np.frombuffer(zlib.decompress(inside.blob("Q")), np.uint8).reshape(width, -1)
    zigzag = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(-1, channels)
    zigzag = zigzag.astype(np.int64)
    values = (zigzag >> 1) ^ -(zigzag & 1)
    if mode == 1:
        values = values.cumsum(axis=0)
    return name, np.repeat(values, count, axis=0) if mode == 2 else values


@dataclass
class Colmap:
    """A COLMAP model: lenses (fx fy cx cy width height), poses and names, points with colours."""

    lenses: dict[int, np.ndarray]
    w2c: np.ndarray
    cameras: list[int]
    names: list[str]
    points: np.ndarray


def read_colmap(folder: Path) -> Colmap:
    """The binary files of a COLMAP model with pinhole cameras and without tracks."""
    file = Bytes((folder / "cameras.bin").read_bytes())
    lenses, w2c, cameras, names = {}, [], [], []
    for _ in range(*file.take("Q")):
        number, model, width, height = file.take("IiQQ")
        assert model == 1
        lenses[number] = np.array([*file.take("4d"), width, height])
    file = Bytes((folder / "images.bin").read_bytes())
    for number in range(*file.take("Q")):
        assert file.take("I") == (number + 1,)
        pose, (camera,) = file.take("7d"), file.take("I")
        end = file.data.index(b"\0", file.at)
        names.append(file.data[file.at : end].decode())
        file.at = end + 1
        assert file.take("Q") == (0,)
        w2c.append(_matrix(np.array(pose)))
        cameras.append(camera)
    assert file.at == len(file.data)
    data = (folder / "points3D.bin").read_bytes()
    form = np.dtype(
        [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")]
    )
    rows = np.frombuffer(data, form, offset=8)
    assert struct.unpack("<Q", data[:8]) == (len(rows),) and not rows["track"].any()
    assert len(np.unique(rows["id"])) == len(rows)
    points = np.concatenate([rows["xyz"], rows["rgb"] / 255], axis=1)
    return Colmap(lenses, np.stack(w2c), cameras, names, points)


def _matrix(pose: np.ndarray) -> np.ndarray:
    w, x, y, z = pose[:4]
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    matrix[:3, 3] = pose[4:]
    return matrix
