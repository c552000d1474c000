"""The pages of the scenes, and the paths of the results that the quickstart prints at its end."""

import importlib.util
import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from src.io.scene import read_scene
from src.runtime import InputError, natural_order
from src.viewer.page import write_page

VIEWERS = """
The pictures and videos open in any viewer and player. The .ply opens in every viewer for 3D
Gaussian splats: drop it onto https://superspl.at/editor in a browser, for one."""
NO_GAUSSFORGE = (
    "gaussforge is missing; this command installs it, then run the quickstart again:\n"
    "  {python} -m pip install 'open-lyra[viewer]'"
)


def scene_lines(folder: Path) -> Iterator[str]:
    """Yields the paths of an input's results; for a video at each moment, in order."""
    for tree, index, key in _scenes(folder / "scene"):
        moment = f" at frame {tree.name}" if _moves(tree) else ""
        yield ""
        yield f"{key}{moment}"
        yield f"  at a glance  {tree}/scenes/{index}/sheet.png"
        yield f"  3D scene     {tree}/gaussians_orig/gaussians_{index}.ply"
        yield f"  renderings   {tree}/main_gaussians_renderings/rgb_{index}.mp4"
        yield f"  one by one   {tree}/raw/rgb_{index}_view_idx_{{0,1,2,3,4,5}}.mp4"
    yield f"  generated    {folder}/clips/{{0,1,2,3,4,5}}/rgb/"


@dataclass(frozen=True)
class Pages:
    """The pages that were written, and why there are no others."""

    written: list[Path]
    reason: str | None = None
    failed: bool = False

    def lines(self) -> Iterator[str]:
        """Yields the last lines of a quickstart."""
        yield ""
        if self.reason is not None:
            yield f"no page.html: {self.reason}"
        for page in self.written:
            yield f"open {shlex.quote(str(shown(page)))} in a browser"


def make_pages(folders: Iterable[tuple[Path, bool]]) -> Pages:
    """Writes the pages of all inputs: folders of results, and whether the input was a folder.

    Without gaussforge, which packs the Gaussians of a page, there is none.
    """
    if importlib.util.find_spec("gaussforge") is None:
        return Pages([], NO_GAUSSFORGE.format(python=sys.executable))
    written: list[Path] = []
    try:
        for folder, several in folders:
            for page in _write_pages(folder, several):
                written.append(page)
    except InputError as error:
        # The scenes are there, and their paths are told.
        return Pages(written, str(error), failed=True)
    return Pages(written)


def _write_pages(folder: Path, several: bool) -> Iterator[Path]:
    """Writes the page of each scene of an input; yields their paths.

    Args:
        folder: the results of an input, or of all pictures of a folder.
        several: these are the results of a folder, whose pages need names.

    Raises:
        InputError: damaged results, or a page that cannot be written.
    """
    sources: dict[tuple[Path, str], Path] = {}
    for tree, index, key in _scenes(folder / "scene"):
        ply = tree / f"gaussians_orig/gaussians_{index}.ply"
        # A run with other `export_formats` may have left it out.
        if ply.is_file():
            moving = _moves(tree)
            sources[tree.parents[int(moving)], key] = tree.parent if moving else ply
    roots = list(dict.fromkeys(root for root, _ in sources))
    for (root, key), source in sources.items():
        words = ["page", *([key] if several else [])]
        # Settings of the second command may have made results of other camera paths.
        words += [str(roots.index(root) + 1)] if len(roots) > 1 else []
        page = folder / f"{'_'.join(words)}.html"
        write_page(page, read_scene(source), key)
        yield page


def _moves(tree: Path) -> bool:
    """Whether a folder has the results of one moment."""
    return tree.parent.name == "lyra_dynamic_demo"


def _scenes(root: Path) -> list[tuple[Path, int, str]]:
    """Returns the folder of each finished scene, its number and its name."""
    found = []
    for pattern in ("*/*/meta/sample_*.json", "*/*/[0-9]*/meta/sample_*.json"):
        for meta in root.glob(pattern):
            index = int(meta.stem.removeprefix("sample_"))
            key = json.loads(meta.read_text("utf-8"))["file_name"][0]
            found.append((meta.parent.parent, index, key))
    return sorted(found, key=lambda scene: (natural_order(str(scene[0])), scene[1]))


def shown(path: Path) -> Path:
    """Returns a path relative to the working directory if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
