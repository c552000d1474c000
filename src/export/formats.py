"""The table of formats, and the export of a scene into one of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..gaussians import Gaussians
from ..io.json_object import write_json
from ..io.ply import write_compressed, write_ply
from ..io.scene import TIMES, SplatScene
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
        ups: the axes that may point up in a file, the usual one first. Readers of glTF and USD
            turn a scene by it; readers of the others show y upside down, or turn it by hand.
    """

    suffix: str
    still: Callable[[Path, Gaussians], None] | None = None
    moving: Callable[[Path, SplatScene], None] | None = None
    ups: tuple[str, ...] = ("-y", "y", "z")


FORMATS: dict[str, Format] = {
    "ply": Format(suffix=".ply", still=write_ply),
    "ply_padded": Format(suffix=".ply", still=partial(write_ply, padded=True)),
    "compressed_ply": Format(
        suffix=".compressed.ply", still=partial(write_compressed, kind="compressed.ply")
    ),
    "splat": Format(suffix=".splat", still=partial(write_compressed, kind="splat")),
    "spz": Format(suffix=".spz", still=partial(write_compressed, kind="spz")),
    "sog": Format(suffix=".sog", still=partial(write_compressed, kind="sog")),
    "glb": Format(suffix=".glb", still=write_glb, ups=("y",)),
    "usdc": Format(suffix=".usdc", moving=write_usd, ups=("z", "y")),
    "usda": Format(suffix=".usda", moving=write_usd, ups=("z", "y")),
    "usdz": Format(suffix=".usdz", moving=write_usd, ups=("z", "y")),
    "4dgs": Format(suffix=".4dgs", moving=write_4dgs, ups=("y", "z")),
    "colmap": Format(suffix="", moving=write_colmap, ups=("-y",)),
}


def export_scene(
    scene: SplatScene, path: Path, name: str | None = None, edit: EditConfig | None = None
) -> Path:
    """Writes a scene in the format `name`, or that of the suffix of `path`; returns its path.

    A scene of several moments becomes one file where the format holds time, else a folder of
    `frame_0000<suffix>`, `frame_0001<suffix>`, ... and `times.json`. The axis that points up is the
    format's usual one unless `edit` names another. Raises `InputError` for an unknown format; a
    name with another suffix than the format's; an axis that the format does not know; a folder with
    moments of another scene; whatever the format or the changes refuse.
    """
    name = name or format_of(path)
    if name not in FORMATS:
        raise InputError("format", name, f"one of {', '.join(FORMATS)}")
    form, edit = FORMATS[name], edit or EditConfig()
    stem, one = path.name.removesuffix(form.suffix), form.moving or len(scene.moments) == 1
    if form.suffix and (not stem or (one and stem == path.name)):
        raise InputError(path, "another suffix", f"{form.suffix}, or another format than {name}")
    if edit.up not in {*form.ups, None}:
        raise InputError("up", f"{edit.up} for {name}", f"one of {', '.join(form.ups)}")
    if name == "colmap" and edit.median_depth is not None:
        raise InputError("colmap", "another unit", "that of the scene's cameras")
    scene = edit_scene(scene, replace(edit, up=edit.up or form.ups[0]))
    if form.moving is not None:
        form.moving(path, scene)
        return path
    assert form.still is not None, "a format without a writer"
    if one:
        form.still(path, scene.moments[0])
        return path
    return _write_moments(path.parent / stem, scene, form.suffix, write=form.still)


def _write_moments(
    folder: Path, scene: SplatScene, suffix: str, write: Callable[[Path, Gaussians], None]
) -> Path:
    """Writes a file for each moment, and their times; returns the folder."""
    names = [f"frame_{number:04d}{suffix}" for number in range(len(scene.moments))]
    old = sorted({path.name for path in folder.glob(f"*{suffix}")} - {*names})
    if old:
        value = f"{len(old)} other files, such as {old[0]}"
        raise InputError(folder, value, f"a new folder, or one of {len(names)} such moments")
    for name, moment in zip(names, scene.moments, strict=True):
        write(folder / name, moment)
    write_json(folder / TIMES, {"times": list(scene.times)})
    return folder


def format_of(path: Path) -> str:
    """Returns the name of the format whose suffix a path has.

    Raises `InputError` if no format has this suffix.
    """
    # The longest first: `.compressed.ply` ends in `.ply`, too.
    names = sorted(FORMATS, key=lambda name: len(FORMATS[name].suffix), reverse=True)
    for name in names:
        if FORMATS[name].suffix and path.name.endswith(FORMATS[name].suffix):
            return "ply" if name == "ply_padded" else name
    raise InputError(path, "no known suffix", f"--format, one of {', '.join(FORMATS)}")
