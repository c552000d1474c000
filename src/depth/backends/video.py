"""Depth of a video of a still camera: by a network for videos, frame by frame, or from a file."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...checkpoints import find_checkpoint, search_checkpoint
from ...checkpoints.archive import read_objects
from ...geometry.fit import WHOLE, Region
from ...io.depth_file import SUFFIXES, read_depth_file
from ...io.image import round_to_uint8
from ...runtime import InputError, get_logger
from ..estimate import DepthEstimate, assumed_intrinsics
from .choice import DepthBackend, DepthUnit, cut_depth, named_depth, resolve_depth

LOGGER = get_logger(__name__)
VIDEO_NETWORK = "video_depth_anything"
EXPECTED = "the weights of the small metric network"
INSTALL = "Video Depth Anything on the PYTHONPATH (README, section Depth)"
# The published sizes of the small network.
SMALL: dict[str, Any] = {
    "encoder": "vits",
    "features": 64,
    "out_channels": [48, 96, 192, 384],
    "metric": True,
}


@dataclass(frozen=True)
class VideoFrames:
    """RGB frames in [0, 1] of a video, the region that they show (see `choice.py`), and indices."""

    pictures: Float[Tensor, "frame 3 h w"]
    region: Region = WHOLE
    indices: Sequence[int] | None = None  # in the video, of each frame; None: 0, 1, 2, ...


@runtime_checkable
class VideoDepthBackend(DepthUnit, Protocol):
    """A source of depth for videos."""

    def __call__(self, frames: VideoFrames) -> DepthEstimate:
        """Depth of the frames, at their size."""
        ...


def resolve_video_depth(
    name: str, checkpoint_dir: Path | str = "checkpoints", device: torch.device | str = "cpu"
) -> VideoDepthBackend:
    """The backend called `name`: `video_depth_anything`, or any name of `resolve_depth`.

    `auto` is Video Depth Anything where it is installed and has weights in the checkpoint folder,
    else as for pictures. Backends for pictures run frame by frame. The log names the backend.
    """
    asked, name = name, named_video_depth(name, checkpoint_dir)
    if name == VIDEO_NETWORK:
        network = VideoDepthAnything(checkpoint_dir, device)
        LOGGER.info("depth by %s%s", network.name, " (auto)" if asked == "auto" else "")
        return network
    backend = resolve_depth(asked, checkpoint_dir, device)
    return FileVideo(Path(name)) if Path(name).suffix.lower() in SUFFIXES else FrameByFrame(backend)


def named_video_depth(name: str, checkpoint_dir: Path | str) -> str:
    """The name itself, or the backend that `auto` stands for; see `resolve_video_depth`."""
    if name == "auto" and importlib.util.find_spec(VIDEO_NETWORK) is not None:
        name = VIDEO_NETWORK if search_checkpoint(VIDEO_NETWORK, checkpoint_dir) else name
    return named_depth(name, checkpoint_dir)


class FrameByFrame:
    """A backend for pictures, each frame brought to the scale of the first one.

    Most pixels of a still camera keep their depth, so the median of the ratios to the first frame
    is the ratio of the scales, also if something moves. All frames are compared with the first, so
    errors don't add up.
    """

    def __init__(self, backend: DepthBackend) -> None:
        self.name, self.scene_scale = backend.name, backend.scene_scale
        self._backend, self.network = backend, getattr(backend, "network", None)

    def __call__(self, frames: VideoFrames) -> DepthEstimate:
        """Aligned depth of every frame; the lens is the median of the frames' estimates."""
        estimates = [self._backend(picture, frames.region) for picture in frames.pictures]
        depth = [estimate.depth / scale_ratio(estimate, estimates[0]) for estimate in estimates]
        intrinsics = torch.stack([estimate.intrinsics for estimate in estimates])
        masks = torch.stack([estimate.mask for estimate in estimates])
        return DepthEstimate(torch.stack(depth), masks, intrinsics.median(dim=0).values)


def scale_ratio(estimate: DepthEstimate, reference: DepthEstimate) -> float:
    """The median ratio of two depths where both are valid; 1 if nowhere (a cut to black)."""
    ratio = estimate.depth / reference.depth
    valid = estimate.mask & reference.mask & ratio.isfinite() & (ratio > 0)
    return ratio[valid].median().item() if valid.any() else 1.0


class FileVideo:
    """Depth maps of a file, one for each frame of the video, at one scale already."""

    scene_scale = False

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path

    def __call__(self, frames: VideoFrames) -> DepthEstimate:
        """The maps at the frames' indices, cut by the region; the lens is that of the first one."""
        count, _, height, width = frames.pictures.shape
        chosen = list(range(count) if frames.indices is None else frames.indices)
        assert len(chosen) == count, f"{len(chosen)} indices of {count} frames"
        # Each map once: the last frame of a short video is repeated.
        rows = sorted(set(chosen))
        stored = read_depth_file(self._path, rows)
        cut = [
            cut_depth(stored, rows.index(index), size=(height, width), region=frames.region)
            for index in chosen
        ]
        depth = torch.stack([estimate.depth for estimate in cut])
        mask = torch.stack([estimate.mask for estimate in cut])
        return DepthEstimate(depth, mask, cut[0].intrinsics)


class VideoDepthAnything:
    """Video Depth Anything (Chen et al. 2025), the small metric network, with an assumed lens."""

    name, scene_scale = VIDEO_NETWORK, False

    def __init__(self, checkpoint_dir: Path | str, device: torch.device | str = "cpu") -> None:
        """Load the network of the installed package with the weights of the checkpoint folder."""
        try:
            from video_depth_anything.video_depth import VideoDepthAnything as Network
        except ImportError as error:
            raise InputError("depth backend", f"no {VIDEO_NETWORK}", INSTALL) from error
        path = find_checkpoint(VIDEO_NETWORK, checkpoint_dir)
        network = Network(**SMALL)
        state = read_objects(path, EXPECTED)
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            raise InputError(path, "something else than tensors by name", EXPECTED)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(path, error, EXPECTED) from error
        self.network, self._device = network.to(device).eval(), str(device)

    @torch.inference_mode()
    def __call__(self, frames: VideoFrames) -> DepthEstimate:
        """Depth of the frames, consistent over time."""
        height, width = frames.pictures.shape[2:]
        bytes_ = round_to_uint8(frames.pictures).permute(0, 2, 3, 1).cpu().numpy()
        # The frame rate is only returned; 1 stands for "every frame".
        depths, _ = self.network.infer_video_depth(
            bytes_, 1, input_size=518, device=self._device, fp32=self._device == "cpu"
        )
        depth = torch.from_numpy(depths).float()[:, None]
        depth = F.interpolate(depth, (height, width), mode="bilinear")[:, 0]
        return DepthEstimate(depth, depth > 0, assumed_intrinsics(height, width, frames.region))
