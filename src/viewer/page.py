"""The page: one file with everything in it, or a page and files for the server."""

import base64
import html
from pathlib import Path
from typing import Any

from ..io.atomic import atomic_path
from ..io.ply.scene import SplatScene
from .description import describe, script_json, splat_files

HERE = Path(__file__).parent
BUNDLE = HERE / "bundle/viewer.js.gz"
TEMPLATE = HERE / "bundle/page.html"


def write_page(path: Path, scene: SplatScene, title: str, clips: Path | None = None) -> int:
    """Writes a scene as one HTML file that needs no network; returns its size in bytes.

    Raises:
        InputError: gaussforge is missing; damaged cameras or clips of the scene.
    """
    files = splat_files(scene)
    description = _with_sizes(describe(scene, title, clips), files)
    for moment, content in zip(description["moments"], files, strict=True):
        moment["data"] = base64.b64encode(content).decode()
    text = page_text(description)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path.stat().st_size


def served_files(scene: SplatScene, title: str, clips: Path | None = None) -> dict[str, bytes]:
    """Returns the files of the live page by their paths on the server; `/` is the page."""
    files = splat_files(scene)
    description = _with_sizes(describe(scene, title, clips), files)
    served = {}
    for number, content in enumerate(files):
        url = f"moment_{number:04d}.spz"
        description["moments"][number]["url"] = url
        served[f"/{url}"] = content
    return {"/": page_text(description).encode(), **served}


def page_text(description: dict[str, Any]) -> str:
    """Returns the HTML of a description, with the viewer's code in it."""
    code = base64.b64encode(BUNDLE.read_bytes()).decode()
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in (
        ("TITLE", html.escape(description["title"])),
        ("SCENE", script_json(description)),
        ("CODE", code),
    ):
        text = text.replace(f"@@{name}@@", value, 1)
    return text


def _with_sizes(description: dict[str, Any], files: list[bytes]) -> dict[str, Any]:
    return {**description, "bytes": sum(map(len, files))}
