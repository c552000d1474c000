"""Comparison of the Gaussians that a reader finds with the true ones, as rows of `readers.py`."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from tests.src.export import readers, scene_readers

# What comes back of turns about the x axis: the true x, y, z from the columns of a file.
AXES = {
    "-y": np.eye(3),
    "y": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}
DEGREES = {"-y": 0.0, "y": -180.0, "z": 90.0}
NAMES = ("position", "scale", "rotation", "opacity", "colour")
# The least PSNR of a rendering of the file; formats that hold all bits reach the other figure.
DECIBELS = {"compressed_ply": 58.0, "spz": 58.0, "sog": 58.0, "4dgs": 58.0, "splat": 46.0}
EXACT_DECIBELS = 100.0
# Rows whose median distance is larger are in another order.
NEAR = 0.01


def read_usd(path: Path) -> np.ndarray:
    """The one moment of a USD file; pxr writes binary ones as text, which is parsed here."""
    if path.suffix == ".usda":
        text = path.read_text()
    else:
        # The layer lives as long as its stage.
        stage = importlib.import_module("pxr.Usd").Stage.Open(str(path))
        text = stage.GetRootLayer().ExportToString()
    return scene_readers.read_usda(text)[1][None]


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "ply": readers.read_ply_rows,
    "ply_padded": readers.read_ply_rows,
    "compressed_ply": readers.read_compressed_ply,
    "splat": readers.read_splat,
    "spz": readers.read_spz,
    "sog": readers.read_sog,
    "glb": readers.read_glb,
    "usdc": read_usd,
    "usda": read_usd,
    "usdz": read_usd,
    "4dgs": lambda path: scene_readers.read_4dgs(path).rows,
}


def turned_back(rows: np.ndarray, up: str) -> np.ndarray:
    """Rows of a file in which `up` points up, in OpenCV's axes."""
    rows, half = rows.copy(), np.radians(DEGREES[up]) / 2
    rows[:, :3] = rows[:, :3] @ AXES[up].T
    w, x, y, z = rows[:, 7:11].T
    c, s = np.cos(half), np.sin(half)
    rows[:, 7:11] = np.stack([c * w - s * x, c * x + s * w, c * y - s * z, c * z + s * y], axis=1)
    return rows


def paired(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The found rows in the order of the true ones; each must have a partner of its own."""
    assert found.shape == true.shape
    if np.median(np.abs(found[:, :3] - true[:, :3])) < NEAR:
        return found
    order = KDTree(_features(found)).query(_features(true))[1]
    assert len(np.unique(order)) == len(true)
    return found[order]


def _features(rows: np.ndarray) -> np.ndarray:
    """Place, scales, colour and opacity, in units of the errors of compressed formats."""
    scales = np.log(rows[:, 4:7] + 1e-5)
    return np.concatenate([100 * rows[:, :3], scales, 4 * rows[:, 11:], 8 * rows[:, 3:4]], axis=1)


def differences(found: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Errors by name: the largest of an axis or channel; scales relative, rotations in degrees."""
    gap = np.abs(found - true)
    a, b = found[:, 7:11], true[:, 7:11]
    # An arc cosine would be off by 0.03 degrees in single precision.
    chord = np.minimum(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    errors = (
        gap[:, :3].max(axis=1),
        (gap[:, 4:7] / true[:, 4:7]).max(axis=1),
        np.degrees(4 * np.arcsin((chord / 2).clip(0, 1))),
        gap[:, 3],
        gap[:, 11:].max(axis=1),
    )
    return dict(zip(NAMES, errors, strict=True))
