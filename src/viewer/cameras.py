"""The cameras of a scene's results for the page, with the pictures of its clips."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from ..io.cameras.file import read_camera_file
from ..io.json_object import read_json_object
from ..io.video.video import read_video, video_header
from ..runtime import InputError

JPEG_QUALITY = 80


@dataclass
class PageCameras:
    """All frames of the page, the paths that they make, pictures by index of the frame."""

    width: int
    height: int
    fps: float
    frames: list[dict[str, Any]] = field(default_factory=list)
    trajectories: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """A camera path of a scene, and the video along it."""

    name: str
    video: Path
    is_clip: bool


def read_cameras(results: Path, clips: Path | None, every: bool) -> PageCameras | None:
    """Returns the cameras of `scenes/<i>`, None without any; arguments as of `describe`."""
    path = results / "cameras.json"
    if not path.is_file():
        return None
    file = read_camera_file(path)
    c2w, lens = file.cameras.c2w.tolist(), file.cameras.intrinsics.tolist()
    frames = [{"c2w": a, "intrinsics": b} for a, b in zip(c2w, lens, strict=True)]
    cameras = PageCameras(file.cameras.width, file.cameras.height, file.fps, frames)
    first = 0
    for trajectory, count in _fitting(_choices(results, clips), len(frames), clips):
        indices = list(range(first, first + count))
        cameras.trajectories.append({"name": trajectory.name, "frames": indices})
        first += count
        if trajectory.is_clip:
            places = list(range(count)) if every else sorted({0, count // 2, count - 1})
            for place, picture in zip(places, read_video(trajectory.video, places), strict=True):
                cameras.pictures[indices[place]] = jpeg_bytes(picture)
            for place, index in enumerate(indices):
                frames[index]["time"] = place / file.fps
    return cameras


def _fitting(
    choices: list[list[Trajectory]], frames: int, clips: Path | None
) -> list[tuple[Trajectory, int]]:
    """Returns the first choice whose videos have `frames` frames in all, with their numbers."""
    for choice in choices:
        counts = [video_header(trajectory.video).num_frames for trajectory in choice]
        if sum(counts) == frames:
            return list(zip(choice, counts, strict=True))
        if choice[0].is_clip and clips is not None:
            expected = f"as many frames as the scene has cameras ({frames})"
            raise InputError(clips, f"clips of {sum(counts)} frames", expected)
    return []


def _choices(results: Path, clips: Path | None) -> list[list[Trajectory]]:
    """Returns the generated clips of a scene, and its renderings, where they are."""
    tree, index = results.parents[1], results.name
    record, choices = scene_record(results), []
    folder = clips or next((p / "clips" for p in tree.parents if (p / "clips").is_dir()), None)
    if record and folder is not None:
        key = record["scene"]
        made = [Trajectory(n, folder / n / "rgb" / f"{key}.mp4", True) for n in record["clips"]]
        missing = [trajectory.video for trajectory in made if not trajectory.video.is_file()]
        if made and not missing:
            choices.append(made)
        elif clips is not None:
            found = f"no {missing[0].relative_to(clips)}" if missing else "a scene without clips"
            raise InputError(clips, found, "the clips that the scene was made of")
    renderings = sorted(
        tree.glob(f"raw/rgb_{index}_view_idx_*.mp4"), key=lambda p: int(p.stem.rsplit("_", 1)[1])
    )
    if renderings:
        choices.append([Trajectory(p.stem.rsplit("_", 1)[1], p, False) for p in renderings])
    return choices


def scene_record(results: Path | None) -> dict[str, Any]:
    """Returns the name and clips of a scene, or nothing for a scene without a record."""
    path = results / "made_from.json" if results else None
    if path is None or not path.is_file():
        return {}
    record = read_json_object(path).get("made_from")
    if not isinstance(record, dict) or not isinstance(record.get("scene"), str):
        raise InputError(path, "no name of a scene", "made_from.json of sample.py")
    return {"scene": record["scene"], "clips": dict(record.get("clips") or {})}


def jpeg_bytes(picture: UInt8[Tensor, "h w 3"]) -> bytes:
    """Returns a picture as the bytes of a JPEG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
