"""Scenes on disk as Gaussians at one or more moments: PLYs, folders, results of sample.py.

A folder of moments holds `frame_0000.ply`, `frame_0001.ply`, ... and `times.json`, whose key
`times` lists the seconds of the files in the order of their names.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from ..gaussians import Gaussians
from ..runtime import InputError, natural_order
from .json_object import is_number, read_json_object
from .ply import read_ply

EXPECTED = "a PLY of Gaussians, a folder of PLYs, or an output folder of sample.py"
TIMES = "times.json"
# Frames a second of the generated clips, whose numbers name the moments of sample.py.
CLIP_FPS = 24.0


@dataclass(frozen=True)
class SplatScene:
    """Gaussians at increasing times in seconds; a scene without motion has one moment."""

    moments: tuple[Gaussians, ...]
    times: tuple[float, ...]
    # `scenes/<i>` of sample.py, which holds the cameras; None for other scenes.
    results: Path | None = None
    # The axis that points up; `-y` is OpenCV's.
    up: str = "-y"


def read_scene(path: Path, fps: float = CLIP_FPS) -> SplatScene:
    """Reads all moments of a PLY, a folder of PLYs, or an output folder of `sample.py`.

    A folder of PLYs without `times.json` has `fps` moments a second. Raises `InputError` for no
    such path, no scene or several ones below it, times that don't fit the files, an fps that is not
    above 0, a PLY that is no set of Gaussians or an empty one.
    """
    if not 0 < fps < math.inf:
        raise InputError("fps", fps, "frames a second above 0")
    if path.is_file():
        return SplatScene((_moment(path),), (0.0,), _results(path))
    if not path.is_dir():
        raise InputError(path, "no such file or folder", EXPECTED)
    direct = sorted(path.glob("*.ply"), key=lambda file: natural_order(file.name))
    if direct:
        return SplatScene(tuple(map(_moment, direct)), _times(path, direct, fps))
    return _read_results(path)


def _moment(path: Path) -> Gaussians:
    gaussians = read_ply(path)
    if not len(gaussians):
        raise InputError(path, "a PLY without Gaussians", EXPECTED)
    return gaussians


def _read_results(path: Path) -> SplatScene:
    """Reads the one scene in an output folder of `sample.py`."""
    scenes: dict[tuple[Path, str], dict[float, Path]] = {}
    for file in sorted(path.rglob("gaussians_orig/gaussians_*.ply")):
        tree = file.parents[1]
        moving = tree.name.isdigit()
        key = (tree.parent if moving else tree, file.stem)
        scenes.setdefault(key, {})[int(tree.name) / CLIP_FPS if moving else 0.0] = file
    if not scenes:
        raise InputError(path, "no PLY in it", EXPECTED)
    if len(scenes) > 1:
        names = ", ".join(sorted({str(files[min(files)]) for files in scenes.values()})[:4])
        raise InputError(path, f"{len(scenes)} scenes ({names}, ...)", "one scene: name its PLY")
    moments = dict(sorted(next(iter(scenes.values())).items()))
    files = tuple(moments.values())
    return SplatScene(tuple(map(_moment, files)), tuple(moments), _results(files[0]))


def _results(ply: Path) -> Path | None:
    """Returns `scenes/<i>` beside `gaussians_orig/gaussians_<i>.ply`, if it is there."""
    found, ply = re.fullmatch(r"gaussians_(\d+)", ply.stem), ply.resolve()
    folder = ply.parents[1] / "scenes" / found[1] if found else None
    return folder if folder is not None and folder.is_dir() else None


def _times(folder: Path, files: list[Path], fps: float) -> tuple[float, ...]:
    path = folder / TIMES
    if not path.is_file():
        return tuple(number / fps for number in range(len(files)))
    times = read_json_object(path).get("times")
    if not isinstance(times, list) or not all(is_number(time) for time in times):
        raise InputError(path, f"times {times!r:.80}", "a list of seconds under the key `times`")
    if len(times) != len(files):
        raise InputError(path, f"{len(times)} times for {len(files)} PLYs", "one time for each PLY")
    if any(later <= earlier for earlier, later in zip(times, times[1:], strict=False)):
        raise InputError(path, f"times {times!r:.80}", "seconds that increase")
    return tuple(float(time) for time in times)
