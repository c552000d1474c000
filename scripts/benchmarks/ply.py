"""Writing and reading 2 million Gaussians as PLY, beside plyfile's own writer and reader."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from src.gaussians import Gaussians
from src.io.ply import (
    COLOR,
    POSITION,
    PROPERTIES,
    ROTATION,
    SCALE,
    SH_CONSTANT,
    read_ply,
    write_ply,
)

from .row import Row, seconds

COUNT = 2_000_000
BUDGET = 2.0


def run(device: torch.device) -> Iterator[Row]:
    """Yields the time of writing (from `device` memory to a synchronised file) and of reading."""
    torch.manual_seed(0)
    # Packed channels in (0, 1) are valid for every parameter.
    gaussians = Gaussians.from_packed(torch.rand(COUNT, 14, device=device) * 0.99 + 0.005)
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = Path(folder) / "ours.ply", Path(folder) / "peer.ply"
        write = seconds(lambda: write_ply(ours, gaussians), repeats=3)
        theirs = seconds(lambda: _write_with_plyfile(peer, gaussians), repeats=3)
        yield Row(
            "write 2M Gaussians, synchronised", write, peer=("plyfile", theirs), budget=BUDGET
        )
        read = seconds(lambda: read_ply(ours), repeats=3)
        theirs = seconds(lambda: _read_with_plyfile(peer), repeats=3)
        yield Row("read 2M Gaussians, checked", read, peer=("plyfile", theirs))


def _write_with_plyfile(path: Path, gaussians: Gaussians) -> None:
    """Writes the same values by numpy and plyfile, neither checked, atomic nor synchronised."""
    packed = gaussians.packed().cpu().numpy()
    table = np.empty(len(packed), dtype=[(name, "<f4") for name in PROPERTIES])
    for channel, name in enumerate(POSITION):
        table[name] = packed[:, channel]
    table["opacity"] = np.log(packed[:, 3] / (1 - packed[:, 3]))
    for channel, name in enumerate(SCALE, start=4):
        table[name] = np.log(packed[:, channel])
    for channel, name in enumerate(ROTATION, start=7):
        table[name] = packed[:, channel]
    for channel, name in enumerate(COLOR, start=11):
        table[name] = (packed[:, channel] - 0.5) / SH_CONSTANT
    PlyData([PlyElement.describe(table, "vertex")]).write(str(path))


def _read_with_plyfile(path: Path) -> dict[str, np.ndarray]:
    """Reads the same parameters by plyfile and numpy, unchecked."""
    table = PlyData.read(str(path))["vertex"].data

    def columns(names: list[str]) -> np.ndarray:
        return np.stack([table[name] for name in names], axis=1)

    quats = columns(ROTATION)
    return {
        "means": columns(POSITION),
        "opacities": 1 / (1 + np.exp(-table["opacity"])),
        "scales": np.exp(columns(SCALE)),
        "quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "colors": columns(COLOR) * SH_CONSTANT + 0.5,
    }
