"""Clips with their source frames, and the warps of many clips at once.

The generator's 3D cache makes the warps, so that training and sampling show a network the same.
Poses are world-to-camera, see `Rig`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from src.geometry.warping import PAIR

from ..diffusion.conditioning.cache import CacheSettings, PointCache, SourceFrames, Warps
from ..diffusion.model.architecture import SamplingDefaults
from .config import WarpConfig

# Cells of the random field that disturbs the depth, along height and width.
FIELD = (4, 7)


@dataclass(frozen=True)
class SourcedClips:
    """Recorded clips and their source frames with depth.

    A still scene has one source frame for all frames of a clip, a moving one has one for each.
    """

    video: UInt8[Tensor, "clip frame 3 h w"]
    source: UInt8[Tensor, "clip source 3 h w"]
    depth: Float[Tensor, "clip source h w"]
    source_w2c: Float[Tensor, "clip source 4 4"]
    w2c: Float[Tensor, "clip frame 4 4"]
    intrinsics: Float[Tensor, "clip frame 4"]
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        sources, frames = self.source.shape[1], self.video.shape[1]
        assert sources in (1, frames), f"{sources} sources of {frames} frames"

    def __len__(self) -> int:
        return len(self.keys)


def unit_video(video: UInt8[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 3 h w"]:
    """Returns bytes as values in [-1, 1], scaled as in warps."""
    return video.float() / 127.5 - 1


def cache_settings(config: WarpConfig, defaults: SamplingDefaults) -> CacheSettings:
    """Returns the settings of the 3D cache that the commands use with these weights."""
    threshold = defaults.filter_points_threshold if config.threshold is None else config.threshold
    return CacheSettings(
        threshold=threshold, foreground_masking=config.foreground_masking, drop_invalid=True
    )


def warp_clips(clips: SourcedClips, settings: CacheSettings) -> Warps:
    """Returns the warps of each clip's source to its cameras, with clips as the `buffer` dimension.

    To the cache, all clips are one long moving scene; a clip of a still scene repeats its source.
    """
    count = clips.video.shape[1]
    frames = paired_frames(count, clips.video.device)
    sources = frames if clips.source.shape[1] > 1 else torch.zeros_like(frames)
    depth = clips.depth[:, sources].flatten(0, 1)
    shown = SourceFrames(
        image=unit_video(clips.source[:, sources].flatten(0, 1)),
        depth=depth,
        intrinsics=clips.intrinsics[:, sources].flatten(0, 1),
        w2c=clips.source_w2c[:, sources].flatten(0, 1),
        mask=depth > 0,
    )
    cache = PointCache(shown, settings, moving=True)
    warps = cache.render(
        clips.intrinsics[:, frames].flatten(0, 1), clips.w2c[:, frames].flatten(0, 1)
    )
    image, mask, depth = (
        part[0].unflatten(0, (len(clips), -1))[:, :count]
        for part in (warps.image, warps.mask, warps.depth)
    )
    return Warps(image, mask, depth)


def disturbed(
    depth: Float[Tensor, "clip source h w"], deviation: float, generator: torch.Generator
) -> Float[Tensor, "clip source h w"]:
    """Returns depth times a smooth random field about 1, one for all source frames of a clip.

    The field is drawn on the CPU, so that it is the same on every device.
    """
    if deviation == 0:
        return depth
    coarse = torch.randn(len(depth), 1, *FIELD, generator=generator)
    smooth = F.interpolate(coarse, depth.shape[-2:], mode="bicubic", align_corners=True)
    # Interpolated fields vary less than their nodes.
    factor = (1 + deviation * smooth.clamp(-3, 3)).clamp_min(0.1)
    return depth * factor.to(depth.device)


def paired_frames(count: int, device: torch.device) -> Int[Tensor, " frame"]:
    """Returns the frames of a clip of `count`, with the last one twice if they are odd.

    Pictures are blended in pairs, which must not join two clips; a picture blended with itself
    stays the same.
    """
    return torch.arange(count + count % PAIR, device=device).clamp_max(count - 1)
