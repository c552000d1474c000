"""A first look at an input, before any network is loaded: is it there, of the right kind, readable?

Only headers are read, so that thousands of inputs take seconds.
"""

from pathlib import Path

from src.io.image.folders import is_picture, is_video
from src.io.image.image import image_size
from src.io.video.video import video_info
from src.runtime import InputError

from ..config import SdgConfig
from .inputs import SceneInput
from .scene import video_kind

STATIC, DYNAMIC = "gen3c_single_image_sdg.py", "gen3c_dynamic_sdg.py"


def check_input(scene: SceneInput, config: SdgConfig) -> None:
    """Refuse an input that no clip can be made of.

    Raises:
        InputError: it is missing, unreadable, or of a kind that another flag or command takes.
    """
    if scene.path is None:
        return
    if config.moving:
        _check_moving(scene.path, config)
    elif is_video(scene.path):
        raise InputError(scene.path, "a video", f"a picture; videos go to {DYNAMIC}")
    else:
        image_size(scene.path)


def _check_moving(path: Path, config: SdgConfig) -> None:
    if is_picture(path):
        raise InputError(path, "a picture", f"a video; pictures go to {STATIC}")
    kind = video_kind(path)
    if config.inputs.vipe is not None and kind == "video" and path.is_file():
        expected = "a result of ViPE (rgb/CLIP.mp4 beside pose/CLIP.npz); --input_image_path"
        raise InputError(f"--vipe_path {path}", "a plain video", f"{expected} takes plain videos")
    if kind == "video" and path.is_file():
        video_info(path)
