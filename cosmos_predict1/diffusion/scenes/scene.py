"""Turns a picture or a video into a scene: frames with depth and cameras for the 3D cache."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.depth.backends.choice import DepthBackend
from src.depth.backends.video import VideoDepthBackend
from src.depth.backends.vipe import PosedDepthVideo, ResizeCrop, read_vipe
from src.depth.sources import still_source, video_source
from src.geometry.cameras import matrix_to_intrinsics
from src.geometry.fit import FitMode
from src.io.video.video import video_info
from src.runtime import InputError

from ..conditioning.cache import SourceFrames, center_depth
from ..conditioning.latents import first_frame_image
from .posed_video import cut_frames, read_posed_folder, read_posed_tensors, video_kind
from .shots import Rig

Center = Literal["one", "known", "all"]


@dataclass(frozen=True)
class Scene:
    """The start of the trajectories of an input.

    Every clip begins with `first_frame` in [-1, 1]; `record` goes into the metadata. A `moving`
    scene has a source frame for each frame of a clip, a still one has one for all.
    """

    sources: SourceFrames
    first_frame: Float[Tensor, "3 h w"]
    rig: Rig
    fps: float
    moving: bool
    record: dict[str, object] = field(default_factory=dict)

    def backwards(self) -> "Scene":
        """The moving scene played backwards."""
        assert self.moving, "a still scene has no direction"
        sources = self.sources.apply(lambda part: part.flip(0))
        rig = self.rig.backwards()
        return replace(self, sources=sources, first_frame=sources.image[0], rig=rig)


@dataclass(frozen=True)
class SceneSize:
    """The size of the pictures, how input is fitted to it, and the number of frames of a clip."""

    height: int
    width: int
    num_frames: int
    resize: FitMode = "crop"


def still_scene(
    image: UInt8[Tensor, "h w 3"],
    backend: DepthBackend,
    size: SceneSize,
    fps: float,
    lens: Float[Tensor, "4"] | None = None,
) -> Scene:
    """Returns the scene of a picture; its camera is the world's origin.

    `lens` are the intrinsics of the fitted picture where the user knows them.
    """
    found = still_source(image, backend, (size.height, size.width), size.resize)
    estimate, w2c = found.prepared.estimate, found.prepared.w2c[None]
    intrinsics = (estimate.intrinsics if lens is None else lens.to(estimate.depth.device))[None]
    depth = estimate.depth[None]
    sources = SourceFrames(
        image=found.prepared.image[None],
        depth=depth,
        intrinsics=intrinsics,
        w2c=w2c,
        # Bars of a padded picture are no part of the scene.
        mask=depth > 0,
    )
    # Published weights saw the stretched picture with a white of 0.992 instead of 1.
    scaling = "published" if size.resize == "stretch" else "consistent"
    count = size.num_frames
    return Scene(
        sources=sources,
        first_frame=first_frame_image(found.picture, size.height, size.width, scaling=scaling),
        rig=Rig(intrinsics.expand(count, 4), w2c.expand(count, 4, 4)),
        fps=fps,
        moving=False,
        record={"depth": backend.name, "depth_divisor": found.divisor, "resize": size.resize},
    )


def filmed_scene(
    path: Path, backend: VideoDepthBackend, size: SceneSize, start: int, fps: float | None
) -> Scene:
    """Returns the scene of a plain video, whose camera stands still at the world's origin."""
    frames = range(start, start + size.num_frames)
    target = (size.height, size.width)
    video, divisor = video_source(path, backend, target, mode=size.resize, frames=frames)
    record = {"depth": backend.name, "depth_divisor": divisor, "resize": size.resize}
    return _moving(video, 1.0, fps, record)


def posed_scene(
    path: Path,
    size: SceneSize,
    start: int,
    fps: float | None,
    default_fps: float,
    center: Center = "one",
) -> Scene:
    """Returns the scene of a video that brings its depth and cameras: ViPE, an `X.pt`, a folder.

    Trajectories turn about depth 1 (`one`), or about the median depth of the first frame: of its
    pixels with a depth (`known`), or of all of them (`all`, as published).

    Raises:
        InputError: the input is missing or damaged, or of another size and cannot be resized.
    """
    kind = video_kind(path)
    if kind == "vipe":
        video = read_vipe(path, start, size.num_frames, size=_vipe_size(path, size))
    else:
        tensors = kind == "tensors"
        whole = read_posed_tensors(path, default_fps) if tensors else read_posed_folder(path)
        found = tuple(whole.image.shape[2:])
        if found != (size.height, size.width):
            expected = f"{size.height}x{size.width}, this input is not resized"
            raise InputError(path, f"pictures of {found[0]}x{found[1]}", expected)
        video = cut_frames(whole, start, size.num_frames)
    turned_about = 1.0
    if center != "one":
        turned_about = center_depth(video.depth[:, 0], published=center == "all")
    record = {"depth": kind, "depth_divisor": 1.0, "center_depth": turned_about}
    return _moving(video, turned_about, fps, record)


def to_device(scene: Scene, device: torch.device) -> Scene:
    """Returns the scene with all its tensors on `device`."""
    rig = scene.rig
    return replace(
        scene,
        sources=scene.sources.apply(lambda part: part.to(device)),
        first_frame=scene.first_frame.to(device),
        rig=replace(rig, intrinsics=rig.intrinsics.to(device), w2c=rig.w2c.to(device)),
    )


def _vipe_size(path: Path, size: SceneSize) -> ResizeCrop:
    """Returns how a ViPE video is fitted; `stretch` is the published way, 720 rows cut to 704."""
    target = (size.height, size.width)
    if size.resize == "pad":
        raise InputError("--resize", size.resize, "crop or stretch for ViPE results")
    if size.resize == "stretch":
        return ResizeCrop((round(size.height * 720 / 704), size.width), target)
    videos = [path] if path.is_file() else sorted(path.glob("rgb/*.mp4"))
    if not videos:
        raise InputError(path, "no rgb/*.mp4", "a ViPE result folder")
    info = video_info(videos[0])
    # Not `plan_fit`, which cuts fractions of pixels: ViPE's depth maps and pictures are resized to
    # whole pixels first, as published. Rounded up after 1e-9, so that an exact fit stays one.
    scale = max(size.height / info.height, size.width / info.width)
    rows, columns = (math.ceil(side * scale - 1e-9) for side in (info.height, info.width))
    return ResizeCrop((max(rows, size.height), max(columns, size.width)), target)


def _moving(
    video: PosedDepthVideo, turned_about: float, fps: float | None, record: dict[str, object]
) -> Scene:
    intrinsics = matrix_to_intrinsics(video.K)
    # Zero depth is unknown, and never a point.
    mask = (video.mask > 0.5) & (video.depth > 0)
    return Scene(
        sources=SourceFrames(
            image=video.image,
            depth=video.depth[:, 0],
            intrinsics=intrinsics,
            w2c=video.w2c,
            mask=mask[:, 0],
        ),
        first_frame=video.image[0],
        rig=Rig(intrinsics, video.w2c, turned_about),
        fps=video.fps if fps is None else fps,
        moving=True,
        record=record,
    )
