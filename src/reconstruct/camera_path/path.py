"""Camera paths of users: read from a file, smoothed between key frames, checked against a scene.

A path's file is a camera file (`src/io/cameras/file.py`), as the browser page saves it. Poses are
in the world of the scene, not relative to the first frame.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ...gaussians import Gaussians
from ...geometry.cameras import Cameras, compose, nearest_rotation, turn_fraction
from ...geometry.fit import plan_fit
from ...io.cameras.file import read_camera_file
from ...runtime import InputError

# Videos have even sides, and H.264 ends there.
LARGEST_SIDE = 8192
FASTEST = 1000.0
# A camera that is further away than this many diagonals of the scene's box belongs to another one;
# the browser page has the same limit. The box leaves out a share of the Gaussians on each side.
FARTHEST_DIAGONALS, OUTLIERS = 20.0, 0.005
# Key frames that are nearer to each other than this get the spacing of their neighbours.
SAME_PLACE = 1e-4


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """The size, the speed and the smoothing of a path; None keeps what the file says.

    Attributes:
        width: of the pictures in pixels, even; one side alone keeps the shape of the file's.
        height: of the pictures in pixels, even.
        fps: frames a second.
        interpolate: frames from one key frame to the next; None takes the file's frames.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    interpolate: int | None = None

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and not (2 <= side <= LARGEST_SIDE and side % 2 == 0):
                raise InputError(name, side, f"an even number of pixels from 2 to {LARGEST_SIDE}")
        if self.fps is not None and not 0 < self.fps <= FASTEST:
            raise InputError("fps", self.fps, f"frames a second above 0 and up to {FASTEST:g}")
        if self.interpolate is not None and self.interpolate < 1:
            raise InputError("interpolate", self.interpolate, "at least 1 frame a key frame")


@dataclass(frozen=True)
class CameraPath:
    """The cameras of a video in the world of its scene, and the scene's second of each frame."""

    cameras: Cameras
    seconds: tuple[float, ...]
    fps: float


def read_path(file: Path, config: PathConfig) -> CameraPath:
    """Reads a camera file as the frames of a video.

    A frame without a time in the file is at the clock's: its number over the frames a second. At
    another shape of picture the lens keeps square pixels, and two sides of the view are cut.

    Raises:
        InputError: as `read_camera_file`; one key frame, or a size that no video can have.
    """
    size = (config.width, config.height) if config.width and config.height else None
    contents = read_camera_file(file, size)
    cameras, times = contents.cameras.to(torch.float64), contents.times
    fps = config.fps or contents.fps
    # Rotations of files are rounded; the renderer inverts them by transposition.
    c2w = cameras.c2w.clone()
    c2w[:, :3, :3] = nearest_rotation(c2w[:, :3, :3])
    cameras = replace(cameras, c2w=c2w)
    if config.interpolate is not None:
        if len(cameras) < 2:
            raise InputError(file, "1 key frame", "at least 2 for --interpolate")
        cameras = smooth_path(cameras, config.interpolate)
        if times is not None:
            times = _steps(times[:, None].double(), config.interpolate)[:, 0]
    clock = torch.arange(len(cameras), dtype=torch.float64) / fps
    seconds = clock if times is None else times
    resized = _resized(file, cameras, config.width, config.height)
    return CameraPath(resized.to(torch.float32), tuple(seconds.tolist()), fps)


def _resized(file: Path, cameras: Cameras, width: int | None, height: int | None) -> Cameras:
    shape = cameras.width / cameras.height
    if width is None and height is not None:
        width = 2 * round(height * shape / 2)
    elif height is None and width is not None:
        height = 2 * round(width / shape / 2)
    width, height = width or cameras.width, height or cameras.height
    if any(not 2 <= side <= LARGEST_SIDE or side % 2 for side in (width, height)):
        expected = f"even sides from 2 to {LARGEST_SIDE}: --width and --height choose others"
        raise InputError(file, f"pictures of {width}x{height} pixels", expected)
    fit = plan_fit(cameras.height, cameras.width, (height, width), mode="crop")
    intrinsics = fit.intrinsics(cameras.intrinsics)
    return replace(cameras, intrinsics=intrinsics, width=width, height=height)


def smooth_path(keys: Cameras, steps: int) -> Cameras:
    """Returns the path through key frames, `steps` frames from each one to the next.

    Camera centres lie on a centripetal Catmull-Rom curve, rotations turn at a constant rate along
    the shortest arc, lenses change linearly: as the browser page plays its key frames.
    """
    share = _shares(keys.c2w, steps)
    first, second = _pairs(keys.c2w, steps)
    between = compose(first[:, :3, :3].mT, second[:, :3, :3])
    c2w = first.clone()
    c2w[:, :3, :3] = compose(first[:, :3, :3], turn_fraction(between, share))
    c2w[:, :3, 3] = _curve(keys.c2w[:, :3, 3], steps)
    c2w = torch.cat([c2w, keys.c2w[-1:]])
    return replace(keys, c2w=c2w, intrinsics=_steps(keys.intrinsics, steps))


def _curve(keys: Float[Tensor, "key 3"], steps: int) -> Float[Tensor, "frame 3"]:
    """Returns places on the curve (Barry and Goldman 1988, exponent 1/2) without the last key."""
    ends = torch.stack([2 * keys[0] - keys[1], 2 * keys[-1] - keys[-2]])
    points = torch.cat([ends[:1], keys, ends[1:]])
    gaps = torch.linalg.vector_norm(points.diff(dim=0), dim=1).sqrt()[:, None]
    middle = torch.where(gaps[1:-1] < SAME_PLACE, 1.0, gaps[1:-1])
    before = torch.where(gaps[:-2] < SAME_PLACE, middle, gaps[:-2])
    after = torch.where(gaps[2:] < SAME_PLACE, middle, gaps[2:])
    p0, p1, p2, p3 = points[:-3], points[1:-2], points[2:-1], points[3:]
    left = (p1 - p0) / before - (p2 - p0) / (before + middle) + (p2 - p1) / middle
    right = (p2 - p1) / middle - (p3 - p1) / (middle + after) + (p3 - p2) / after
    # Hermite's form with the tangents at both ends of each piece.
    start, end, leave, arrive = (
        part.repeat_interleave(steps, dim=0) for part in (p1, p2, left * middle, right * middle)
    )
    t = _shares(keys, steps)[:, None]
    bend = 2 * start - 2 * end + leave + arrive
    turn = 3 * end - 3 * start - 2 * leave - arrive
    return start + t * (leave + t * (turn + t * bend))


def _steps(values: Float[Tensor, "key n"], steps: int) -> Float[Tensor, "frame n"]:
    """Returns values that change linearly from key to key."""
    first, second = _pairs(values, steps)
    between = torch.lerp(first, second, _shares(values, steps)[:, None])
    return torch.cat([between, values[-1:]])


def _pairs(values: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Returns the keys before and after each frame, without the last key's frame."""
    return values[:-1].repeat_interleave(steps, 0), values[1:].repeat_interleave(steps, 0)


def _shares(keys: Tensor, steps: int) -> Float[Tensor, " frame"]:
    """Returns the share of each frame's way from its key to the next, in [0, 1)."""
    return (torch.arange(steps, dtype=torch.float64) / steps).repeat(len(keys) - 1)


def check_scene(file: Path, path: CameraPath, gaussians: Gaussians) -> None:
    """Raises `InputError` for a path of another scene: too far away, or nothing in view."""
    count = len(gaussians)
    low, high = int(count * OUTLIERS), min(count - 1, int(count * (1 - OUTLIERS)))
    ordered = gaussians.means.sort(dim=0).values
    box = ordered[[low, high]]
    reach = FARTHEST_DIAGONALS * float(torch.dist(box[0], box[1]))
    away = torch.linalg.vector_norm(path.cameras.c2w[:, :3, 3] - box.mean(dim=0), dim=1)
    # A scene of one place has no size.
    if away.max() > reach > 0:
        frame = int(away.argmax())
        value = f"frame {frame}, which is {float(away[frame]):.3g} units away from the scene"
        raise InputError(file, value, f"a path of this scene, within {reach:.3g} units")
    if not any(_sees(path.cameras[index], gaussians) for index in range(len(path.cameras))):
        value = f"{len(path.cameras)} frames with nothing of the scene in view"
        raise InputError(file, value, "a path of this scene")


def _sees(camera: Cameras, gaussians: Gaussians) -> bool:
    """Whether the centre of a Gaussian lies in the picture of one camera."""
    w2c, (fx, fy, cx, cy) = camera.w2c, camera.intrinsics.tolist()
    x, y, z = (gaussians.means @ w2c[:3, :3].mT + w2c[:3, 3]).unbind(-1)
    u, v = x * fx / z + cx, y * fy / z + cy
    inside = (u > 0) & (u < camera.width) & (v > 0) & (v < camera.height)
    return bool((inside & (z > 0)).any())
