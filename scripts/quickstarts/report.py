"""The paths of the results, which the quickstart prints at its end."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

VIEWERS = """
The pictures and videos open in any viewer and player. The .ply opens in every viewer for 3D
Gaussian splats: drop it onto https://superspl.at/editor in a browser, for one."""


def scene_lines(folder: Path) -> Iterator[str]:
    """Yields the paths of an input's results; for a video at each moment, in order."""
    for tree, index, key in _scenes(folder / "scene"):
        moment = f" at frame {tree.name}" if tree.parent.name == "lyra_dynamic_demo" else ""
        yield ""
        yield f"{key}{moment}"
        yield f"  at a glance  {tree}/scenes/{index}/sheet.png"
        yield f"  3D scene     {tree}/gaussians_orig/gaussians_{index}.ply"
        yield f"  renderings   {tree}/main_gaussians_renderings/rgb_{index}.mp4"
        yield f"  one by one   {tree}/raw/rgb_{index}_view_idx_{{0,1,2,3,4,5}}.mp4"
    yield f"  generated    {folder}/clips/{{0,1,2,3,4,5}}/rgb/"


def _scenes(root: Path) -> list[tuple[Path, int, str]]:
    """Returns the folder of each finished scene, its number and its name."""
    found = []
    for pattern in ("*/*/meta/sample_*.json", "*/*/[0-9]*/meta/sample_*.json"):
        for meta in root.glob(pattern):
            index = int(meta.stem.removeprefix("sample_"))
            key = json.loads(meta.read_text("utf-8"))["file_name"][0]
            found.append((meta.parent.parent, index, key))
    return sorted(found, key=lambda scene: (_natural(str(scene[0])), scene[1]))


def shown(path: Path) -> Path:
    """Returns a path relative to the working directory if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for part, text in re.findall(r"(\d*)(\D*)", text)]
