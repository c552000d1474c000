"""The table of formats, and the export of a scene into one of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..gaussians import Gaussians
from ..io.json_object import write_json
from ..io.ply.compressed import write_compressed
from ..io.ply.ply import write_ply
from ..io.ply.scene import TIMES, SplatScene
from ..runtime import InputError
from .colmap import write_colmap
from .editing import EditConfig, edit_scene
from .temporal import write_4dgs, write_glb
from .usd import write_usd


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of files.

    Attributes:
        suffix: of a file; empty for a folder.
        still: writes one moment, for formats that hold no time.
        moving: writes all moments into one file.
        up: the axis that points up in the format's readers.
    """

    suffix: str
    still: Callable[[Path, Gaussians], None] | None = None
    moving: Callable[[Path, SplatScene], None] | None = None
    up: str = "-y"


FORMATS: dict[str, Format] = {
    "ply": Format(suffix=".ply", still=write_ply),
    "ply_padded": Format(suffix=".ply", still=partial(write_ply, padded=True)),
    "compressed_ply": Format(
        suffix=".compressed.ply", still=partial(write_compressed, kind="compressed.ply")
    ),
    "splat": Format(suffix=".splat", still=partial(write_compressed, kind="splat")),
    "spz": Format(suffix=".spz", still=partial(write_compressed, kind="spz")),
    "sog": Format(suffix=".sog", still=partial(write_compressed, kind="sog")),
    "glb": Format(suffix=".glb", still=write_glb, up="y"),
    "usdc": Format(suffix=".usdc", moving=write_usd, up="z"),
    "usda": Format(suffix=".usda", moving=write_usd, up="z"),
    "usdz": Format(suffix=".usdz", moving=write_usd, up="z"),
    "4dgs": Format(suffix=".4dgs", moving=write_4dgs, up="y"),
    "colmap": Format(suffix="", moving=write_colmap),
}


def export_scene(
    scene: SplatScene, path: Path, name: str | None = None, edit: EditConfig | None = None
) -> Path:
    """Writes a scene in the format `name`, or that of the suffix of `path`; returns its path.

    A scene of several moments becomes one file where the format holds time, else a folder of
    `frame_0000<suffix>`, `frame_0001<suffix>`, ... and `times.json`. The axis that points up is the
    format's unless `edit` says another one than OpenCV's.

    Raises:
        InputError: an unknown format; whatever the format or the changes refuse.
    """
    form = FORMATS[name or format_of(path)] if name in {*FORMATS, None} else None
    if form is None:
        raise InputError("format", name, f"one of {', '.join(FORMATS)}")
    edit = edit or EditConfig()
    if form.suffix == "" and (edit.up != "-y" or edit.median_depth is not None):
        raise InputError("colmap", "another up axis or unit", "those of the scene's cameras")
    up = form.up if edit.up == "-y" else edit.up
    scene = edit_scene(scene, replace(edit, up=up))
    if form.moving is not None:
        form.moving(path, scene)
        return path
    assert form.still is not None, "a format without a writer"
    if len(scene.moments) == 1:
        form.still(path, scene.moments[0])
        return path
    folder = path.with_name(path.name.removesuffix(form.suffix)) if form.suffix else path
    for number, moment in enumerate(scene.moments):
        form.still(folder / f"frame_{number:04d}{form.suffix}", moment)
    write_json(folder / TIMES, {"times": list(scene.times)})
    return folder


def format_of(path: Path) -> str:
    """Returns the name of the format whose suffix a path has.

    Raises:
        InputError: no format has this suffix.
    """
    # The longest first: `.compressed.ply` ends in `.ply`, too.
    names = sorted(FORMATS, key=lambda name: len(FORMATS[name].suffix), reverse=True)
    for name in names:
        if FORMATS[name].suffix and path.name.endswith(FORMATS[name].suffix):
            return "ply" if name == "ply_padded" else name
    raise InputError(path, "no known suffix", f"--format, one of {', '.join(FORMATS)}")
