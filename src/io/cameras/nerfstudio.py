"""Cameras of `transforms.json`, as nerfstudio, instant-ngp and Blender's scripts for NeRF write it.

Poses are camera-to-world with OpenGL axes (x right, y up, z backwards), 4x4 or 3x4. Lenses are in
pixels (`fl_x fl_y cx cy w h`, for all frames or in each) or one angle (`camera_angle_x`). Frames
are sorted by file name, numbers in numeric order.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime import InputError, get_logger, natural_order
from ..json_object import is_number

LOGGER = get_logger(__name__)
POSE = "transform_matrix"
MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL", "PERSPECTIVE")
DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")
LEAST_WIDTH = 512
EXPECTED = "frames of a transforms.json, each with a `transform_matrix` of 4 x 4 or 3 x 4"


def is_transforms(values: Mapping[str, Any]) -> bool:
    """Whether a JSON object has frames as nerfstudio writes them."""
    frames = values.get("frames")
    return isinstance(frames, list) and any(
        isinstance(frame, dict) and POSE in frame for frame in frames
    )


def transforms_arrays(
    path: Path, values: Mapping[str, Any], size: tuple[int, int] | None
) -> dict[str, Any]:
    """The arrays of a camera file, unchecked; `size` (width, height) is used if the file has none.

    Raises `InputError` for frames without pose or lens, other cameras than pinholes, several sizes.
    """
    frames = values["frames"]
    if not all(isinstance(frame, dict) and POSE in frame for frame in frames):
        raise InputError(path, "frames without a pose", EXPECTED)
    frames = sorted(frames, key=lambda frame: natural_order(str(frame.get("file_path", ""))))
    cameras = [{**values, **frame} for frame in frames]
    for camera in cameras:
        _refuse_other_models(path, camera)
    distortions = (camera.get(name) for camera in cameras for name in DISTORTIONS)
    if any(isinstance(value, int | float) and value for value in distortions):
        LOGGER.warning("%s: the distortion of the lens is ignored", path)
    sizes = {str((camera.get("w"), camera.get("h"))) for camera in cameras}
    if len(sizes) != 1:
        raise InputError(path, f"pictures of the sizes {sorted(sizes)[:4]}", "one size")
    arrays: dict[str, Any] = {"c2w": [_opencv(path, camera[POSE]) for camera in cameras]}
    sides = (("width", "w"), ("height", "h"))
    named = {name: cameras[0][key] for name, key in sides if key in cameras[0]}
    if not named and size is not None and "fl_x" not in cameras[0]:
        # An angle fits any size; in few pixels the lens would look like shares of the picture.
        factor = -(-LEAST_WIDTH // min(size))
        named = {"width": size[0] * factor, "height": size[1] * factor}
    known = (named.get("width"), named.get("height")) if len(named) == 2 else size
    arrays["intrinsics"] = [_lens(path, camera, known) for camera in cameras]
    return arrays | named


def _opencv(path: Path, pose: Any) -> Any:
    """A pose with OpenCV axes (z forward, y down)."""
    try:
        matrix = np.array(pose, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(path, f"`{POSE}` that is no array of numbers", EXPECTED) from error
    if matrix.shape not in ((4, 4), (3, 4)):
        raise InputError(path, f"`{POSE}` of shape {matrix.shape}", EXPECTED)
    matrix[:, 1:3] *= -1
    rows = matrix.tolist()
    return rows if len(rows) == 4 else [*rows, [0.0, 0.0, 0.0, 1.0]]


def _lens(path: Path, camera: Mapping[str, Any], size: Any) -> list[Any]:
    """`fx fy cx cy` of one frame."""
    expected = "fl_x, fl_y, cx, cy or camera_angle_x for every frame"
    if size is None or not all(is_number(side) for side in size):
        raise InputError(path, f"the size {size}", "numbers `w` and `h`")
    width, height = size
    names = ("fl_x", "fl_y", "cx", "cy", "camera_angle_x")
    if wrong := [name for name in names if not is_number(camera.get(name, 1))]:
        raise InputError(path, f"{wrong[0]} = {str(camera[wrong[0]])[:80]}", "a number")
    if "fl_x" in camera:
        focal = camera["fl_x"]
    elif "camera_angle_x" in camera and 0 < camera["camera_angle_x"] < math.pi:
        focal = width / (2 * math.tan(camera["camera_angle_x"] / 2))
    else:
        raise InputError(path, "a frame without a lens", expected)
    centre = [camera.get("cx", width / 2), camera.get("cy", height / 2)]
    return [focal, camera.get("fl_y", focal), *centre]


def _refuse_other_models(path: Path, camera: Mapping[str, Any]) -> None:
    model = camera.get("camera_model", "PINHOLE")
    if camera.get("is_fisheye") or str(model).upper() not in MODELS:
        kind = "a fisheye lens" if camera.get("is_fisheye") else f"camera_model {str(model)[:40]}"
        raise InputError(path, kind, "pinhole cameras, undistort the pictures first")
