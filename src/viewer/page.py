"""The page: one file with everything in it, or a page and files for the server."""

import base64
import html
from pathlib import Path
from typing import Any

from ..io.atomic import atomic_path
from ..io.scene import SplatScene
from .description import describe, script_json, splat_files

HERE = Path(__file__).parent
BUNDLE = HERE / "bundle/viewer.js.gz"
TEMPLATE = HERE / "bundle/page.html"


def write_page(
    path: Path, scene: SplatScene, title: str | None = None, clips: Path | None = None
) -> int:
    """Writes a scene as one HTML file that needs no network; returns its size in bytes.

    Raises `InputError` if gaussforge is missing, for damaged cameras or clips of the scene.
    """
    files = splat_files(scene)
    description = describe(scene, title, clips)
    values = _with_sizes(description.values, files)
    for moment, content in zip(values["moments"], files, strict=True):
        moment["data"] = _base64(content)
    values["pictures"] = {
        index: f"data:image/jpeg;base64,{_base64(picture)}"
        for index, picture in description.pictures.items()
    }
    text = page_text(values)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path.stat().st_size


def served_files(
    scene: SplatScene, title: str | None = None, clips: Path | None = None
) -> dict[str, bytes]:
    """Returns the files of the live page by their paths on the server; `/` is the page."""
    files = splat_files(scene)
    description = describe(scene, title, clips, every=True)
    values = _with_sizes(description.values, files)
    served = {}
    for number, content in enumerate(files):
        url = f"moment_{number:04d}.spz"
        values["moments"][number]["url"] = url
        served[f"/{url}"] = content
    values["pictures"] = {index: f"frame_{index:04d}.jpg" for index in description.pictures}
    for index, url in values["pictures"].items():
        served[f"/{url}"] = description.pictures[index]
    return {"/": page_text(values).encode(), **served}


def page_text(values: dict[str, Any]) -> str:
    """Returns the HTML of a description's values, with the viewer's code in it."""
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in (
        ("TITLE", html.escape(values["title"])),
        ("SCENE", script_json(values)),
        ("CODE", _base64(BUNDLE.read_bytes())),
    ):
        text = text.replace(f"@@{name}@@", value, 1)
    return text


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _with_sizes(values: dict[str, Any], files: list[bytes]) -> dict[str, Any]:
    return {**values, "bytes": sum(map(len, files))}
