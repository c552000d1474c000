"""Compressed PLY, .splat, .spz and .sog, written by gaussforge, with OpenCV's axes (y down)."""

import tempfile
from pathlib import Path

from ...gaussians import Gaussians
from ...runtime import InputError, import_extra
from ..atomic import atomic_path
from .ply import write_ply

# Spark and other browser viewers read version 3 of .spz and not version 4.
SPZ_VERSION = 3


def write_compressed(path: Path, gaussians: Gaussians, kind: str) -> None:
    """Writes one set of Gaussians.

    Args:
        path: of the file.
        gaussians: one set.
        kind: `compressed.ply`, `splat`, `spz` or `sog`.

    Raises:
        InputError: gaussforge is not installed, or refuses the Gaussians.
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
