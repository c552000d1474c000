"""Clips with their source frames, of a folder or of worlds, and the warps of many at once.

The generator's 3D cache makes the warps, so that training and sampling show a network the same.
Poses are world-to-camera, see `Rig`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from src.geometry.cameras import invert_rigid
from src.geometry.warping import PAIR
from src.io.clip.clip import ClipPaths, ClipReader, list_keys, list_trajectories, open_clip
from src.runtime import InputError

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


def list_clips(root: Path) -> list[ClipPaths]:
    """Returns all clips of a folder, sorted by scene.

    Raises:
        InputError: there are none.
    """
    found = [
        ClipPaths(root, trajectory, key)
        for trajectory in list_trajectories(root)
        for key in list_keys(root, [trajectory])
    ]
    if not found:
        raise InputError(root, "no clips", "a folder of clips: <trajectory>/rgb/<key>.mp4, ...")
    return sorted(found, key=lambda paths: (paths.key, paths.trajectory))


def split_clips(
    clips: Sequence[ClipPaths], held_out: int
) -> tuple[list[ClipPaths], list[ClipPaths]]:
    """Returns training clips, and at least `held_out` clips of other scenes.

    Nothing is held out if no scene would be left for training.
    """
    keys = sorted({paths.key for paths in clips})
    kept: set[str] = set()
    for key in reversed(keys):
        if sum(paths.key in kept for paths in clips) >= held_out:
            break
        kept.add(key)
    if len(kept) == len(keys):
        kept = set()
    training = [paths for paths in clips if paths.key not in kept]
    return training, [paths for paths in clips if paths.key in kept]


def folder_clips(
    clips: Sequence[ClipPaths], size: SamplingDefaults, device: torch.device
) -> Iterator[SourcedClips]:
    """Yield clip after clip.

    Raises:
        InputError: a clip without depth, too short, or not of the weights' size or frame rate.
    """
    for paths in clips:
        reader = open_clip(paths)
        _check(reader, size)
        frames = list(range(size.num_frames))
        cameras, video = reader.cameras(frames), reader.frames(frames).movedim(-1, 1)
        depth = reader.depth([0])
        # Depth that is not positive or not finite is unknown.
        known = depth.where(depth.isfinite() & (depth > 0), 0)
        w2c = invert_rigid(cameras.c2w)
        yield SourcedClips(
            video=video[None].to(device),
            source=video[None, :1].to(device),
            depth=known[None].to(device),
            source_w2c=w2c[None, :1].to(device),
            w2c=w2c[None].to(device),
            intrinsics=cameras.intrinsics[None].to(device),
            keys=(f"{paths.trajectory}/{paths.key}",),
        )


def _check(reader: ClipReader, size: SamplingDefaults) -> None:
    """Raise `InputError` for a clip that does not fit the weights."""
    source, info = reader.paths.rgb, reader.info
    if not reader.has_depth:
        expected = "depth of frame 0 (scripts/add_depth.py writes it)"
        raise InputError(source, "a clip without depth", expected)
    if (info.height, info.width) != (size.height, size.width):
        expected = f"{size.height}x{size.width}, that of the weights"
        raise InputError(source, f"pictures of {info.height}x{info.width}", expected)
    if info.num_frames < size.num_frames:
        raise InputError(source, f"{info.num_frames} frames", f"at least {size.num_frames}")
    if abs(info.fps - size.fps) > 0.01:
        raise InputError(source, f"{info.fps} fps", f"{size.fps}, that of the weights")
