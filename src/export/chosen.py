"""The formats that a run writes beside its scenes: checked by name, tried before the work."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from ..gaussians import Gaussians
from ..io.scene import SplatScene
from ..runtime import InputError
from .formats import FORMATS, export_scene

# A COLMAP model is a folder with pictures, which scripts/export.py makes of finished results.
KNOWN = tuple(name for name, form in FORMATS.items() if form.suffix)
TRIED_GAUSSIANS = 16


def check_names(source: str, names: Sequence[str]) -> list[str]:
    """Returns the names of formats without repetitions; `InputError` for an unknown one."""
    if unknown := [name for name in names if name not in KNOWN]:
        raise InputError(source, ", ".join(map(repr, unknown)), f"some of {', '.join(KNOWN)}")
    return list(dict.fromkeys(names))


def of_moments(names: Sequence[str]) -> list[str]:
    """Returns the formats that hold all moments of a moving scene in one file."""
    return [name for name in names if FORMATS[name].moving is not None]


def export_path(stem: Path, name: str) -> Path:
    """Returns the path of a file of a format, from its path without a suffix."""
    return stem.with_name(stem.name + FORMATS[name].suffix)


def try_formats(names: Sequence[str]) -> None:
    """Writes a few Gaussians in each format into a temporary folder.

    Raises `InputError` for a format whose package is not installed; the text has the command.
    """
    if not names:
        return
    places = torch.rand(TRIED_GAUSSIANS, 3, generator=torch.Generator().manual_seed(0))
    gaussians = Gaussians(
        means=places + 1,
        opacities=places[:, 0],
        scales=places + 0.1,
        quats=torch.eye(4)[:1].repeat(TRIED_GAUSSIANS, 1),
        colors=places,
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = export_path(Path(folder) / name, name)
            export_scene(SplatScene((gaussians,), (0.0,)), path, name)
