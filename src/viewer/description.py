"""The description of a scene that the page reads: cameras, pictures, moments."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..gaussians import Gaussians
from ..io.ply import write_compressed
from ..io.scene import SplatScene
from .cameras import PageCameras, read_cameras, scene_record

# A scene without cameras is seen from the first camera of generated clips, as wide as a telephone.
HOME_SIZE, HOME_FOCAL, HOME_FPS = (960, 540), 900.0, 24.0
# The box around the scene leaves out this share of the Gaussians on each side.
OUTLIERS = 0.005


@dataclass(frozen=True)
class Description:
    """The JSON values that the page reads, and JPEG files by index of their frame."""

    values: dict[str, Any]
    pictures: dict[int, bytes]


def splat_files(scene: SplatScene) -> list[bytes]:
    """Returns one .spz file a moment."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moment.spz"
        for moment in scene.moments:
            write_compressed(path, moment, kind="spz")
            files.append(path.read_bytes())
    return files


def describe(
    scene: SplatScene, title: str | None = None, clips: Path | None = None, *, every: bool = False
) -> Description:
    """Returns the description without the splats themselves.

    Without a `title` the page has the name of the scene's input. Pictures of the generated `clips`
    stand on the frustums; None looks for the folder beside the results. `every` takes the picture
    of every frame, not of three frames a path. Raises `InputError` for damaged cameras or clips.
    """
    cameras = read_cameras(scene.results, clips, every) if scene.results else None
    cameras = cameras or PageCameras(width=HOME_SIZE[0], height=HOME_SIZE[1], fps=HOME_FPS)
    width, height = cameras.width, cameras.height
    home = {
        "c2w": torch.eye(4).tolist(),
        "intrinsics": [HOME_FOCAL * width / HOME_SIZE[0]] * 2 + [width / 2, height / 2],
    }
    values = {
        "title": title or scene_record(scene.results).get("scene") or "scene",
        "type": "spz",
        "width": width,
        "height": height,
        "fps": cameras.fps,
        "home": home,
        "frames": cameras.frames,
        "trajectories": cameras.trajectories,
        "bounds": _bounds(scene.moments[0]),
        "moments": [
            {"time": time, "count": len(moment)}
            for time, moment in zip(scene.times, scene.moments, strict=True)
        ],
    }
    return Description(values, cameras.pictures)


def _bounds(gaussians: Gaussians) -> list[list[float]]:
    """Returns least and largest x, y, z of nearly all centres."""
    count = len(gaussians)
    low, high = int(count * OUTLIERS), min(count - 1, int(count * (1 - OUTLIERS)))
    ordered = gaussians.means.sort(dim=0).values
    return [ordered[low].tolist(), ordered[high].tolist()]


def script_json(description: dict[str, Any]) -> str:
    """Returns JSON that may stand in a script element."""
    return json.dumps(description, separators=(",", ":")).replace("</", "<\\/")
