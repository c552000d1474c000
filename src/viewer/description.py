"""The description of a scene that the page reads: cameras, pictures, moments."""

import base64
import io
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from ..gaussians import Gaussians
from ..io.cameras.file import read_camera_file
from ..io.json_object import read_json_object
from ..io.ply.compressed import write_compressed
from ..io.ply.scene import SplatScene
from ..io.video.video import read_video, video_header
from ..runtime import InputError

JPEG_QUALITY = 80
# A scene without cameras is seen from the first camera of generated clips, as wide as a telephone.
HOME_SIZE, HOME_FOCAL, HOME_FPS = (960, 540), 900.0, 24.0
# The box around the scene leaves out this share of the Gaussians on each side.
OUTLIERS = 0.005


@dataclass
class PageCameras:
    """All frames of the page, the paths that they make, pictures by index of the frame."""

    width: int
    height: int
    fps: float
    frames: list[dict[str, Any]] = field(default_factory=list)
    trajectories: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[int, str] = field(default_factory=dict)


def splat_files(scene: SplatScene) -> list[bytes]:
    """Returns one .spz file a moment."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moment.spz"
        for moment in scene.moments:
            write_compressed(path, moment, kind="spz")
            files.append(path.read_bytes())
    return files


def describe(scene: SplatScene, title: str, clips: Path | None = None) -> dict[str, Any]:
    """Returns the description without the splats themselves.

    Args:
        scene: all moments.
        title: of the page.
        clips: folder of the generated clips, whose pictures stand on the frustums; None looks for
            it beside the results.

    Raises:
        InputError: damaged cameras or clips.
    """
    cameras = _read_cameras(scene.results, clips) if scene.results else None
    cameras = cameras or PageCameras(*HOME_SIZE, fps=HOME_FPS)
    width, height = cameras.width, cameras.height
    home = {
        "c2w": torch.eye(4).tolist(),
        "intrinsics": [HOME_FOCAL * width / HOME_SIZE[0]] * 2 + [width / 2, height / 2],
    }
    return {
        "title": title,
        "type": "spz",
        "width": width,
        "height": height,
        "fps": cameras.fps,
        "home": home,
        "frames": cameras.frames,
        "trajectories": cameras.trajectories,
        "pictures": cameras.pictures,
        "bounds": _bounds(scene.moments[0]),
        "moments": [
            {"time": time, "count": len(moment)}
            for time, moment in zip(scene.times, scene.moments, strict=True)
        ],
    }


def _bounds(gaussians: Gaussians) -> list[list[float]]:
    """Returns least and largest x, y, z of nearly all centres."""
    count = len(gaussians)
    low, high = int(count * OUTLIERS), min(count - 1, int(count * (1 - OUTLIERS)))
    ordered = gaussians.means.sort(dim=0).values
    return [ordered[low].tolist(), ordered[high].tolist()]


def _read_cameras(results: Path, clips: Path | None) -> PageCameras | None:
    path = results / "cameras.json"
    if not path.is_file():
        return None
    file = read_camera_file(path)
    c2w, lens = file.cameras.c2w.tolist(), file.cameras.intrinsics.tolist()
    frames = [{"c2w": a, "intrinsics": b} for a, b in zip(c2w, lens, strict=True)]
    cameras = PageCameras(file.cameras.width, file.cameras.height, file.fps, frames)
    first = 0
    for name, video, is_clip in _videos(results, clips):
        count = video_header(video).num_frames
        if first + count > len(frames):
            expected = f"as many frames as {path} has cameras ({len(frames)})"
            raise InputError(video, f"{first + count} frames up to it", expected)
        indices = list(range(first, first + count))
        cameras.trajectories.append({"name": name, "frames": indices})
        if is_clip:
            ends = [0, count - 1]
            pictures = read_video(video, ends)
            for place, picture in zip(ends, pictures, strict=True):
                cameras.pictures[indices[place]] = jpeg_url(picture)
        first += count
    return cameras


def _videos(results: Path, clips: Path | None) -> list[tuple[str, Path, bool]]:
    """Returns name, video, and whether it is a generated clip, of each path of a scene."""
    tree, index = results.parents[1], results.name
    found = []
    made_from, meta = results / "made_from.json", tree / f"meta/sample_{index}.json"
    if made_from.is_file() and meta.is_file():
        names = read_json_object(made_from).get("made_from", {}).get("clips", {})
        (key,) = read_json_object(meta)["file_name"]
        folder = clips or next((p / "clips" for p in tree.parents if (p / "clips").is_dir()), None)
        if folder is not None:
            found = [(name, folder / name / "rgb" / f"{key}.mp4", True) for name in names]
            if all(path.is_file() for _, path, _ in found):
                return found
            if clips is not None:
                raise InputError(clips, f"no {found[0][1].relative_to(clips)}", "the scene's clips")
    renderings = sorted(
        tree.glob(f"raw/rgb_{index}_view_idx_*.mp4"), key=lambda p: int(p.stem.rsplit("_", 1)[1])
    )
    return [(path.stem.rsplit("_", 1)[1], path, False) for path in renderings]


def jpeg_url(picture: UInt8[Tensor, "h w 3"]) -> str:
    """Returns a picture as a data URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def script_json(description: dict[str, Any]) -> str:
    """Returns JSON that may stand in a script element."""
    return json.dumps(description, separators=(",", ":")).replace("</", "<\\/")
