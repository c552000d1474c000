"""The other signals that the tokenizer encodes: ray maps, masks, pictures with holes, times.

All are videos in about [-1, 1], as the generator and the decoder give them to the encoder.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...geometry.cameras import Cameras, compose, invert_rigid
from ...geometry.rays import pluecker
from ...tokenizer.latents import time_vector
from .augment import Window, uniform

# Frames, rows and columns of the coarse and the fine noise of holes.
COARSE, FINE = (3, 4, 6), (5, 24, 40)
ROUGHNESS = 0.35


def ray_videos(
    cameras: Cameras, window: Window, generator: torch.Generator
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns moments or directions of the cameras' rays, relative to their first frame."""
    c2w = compose(invert_rigid(cameras.c2w[:, :1]), cameras.c2w)
    count, frames = c2w.shape[:2]
    clip = torch.arange(count, device=c2w.device)[:, None]
    c2w, intrinsics = c2w[clip, window.frame], cameras.intrinsics[clip, window.frame]
    maps = pluecker(Cameras(c2w, intrinsics, cameras.width, cameras.height))
    half = uniform((count,), generator).round().long()
    chosen = maps.unflatten(2, (2, 3))[clip[:, 0], :, half]
    clip, frame = clip[..., None, None, None], torch.arange(frames, device=c2w.device)
    channel = torch.arange(3, device=c2w.device)[:, None, None, None]
    frame = frame[:, None, None]
    row, column = window.row[:, None, None, :, None], window.column[:, None, None, None]
    return chosen[clip, frame, channel, row, column]


def known_pixels(
    shape: tuple[int, int, int, int], generator: torch.Generator
) -> Bool[Tensor, "clip frame h w"]:
    """Returns masks like those of warps: whole in the first frame, then with growing holes.

    The `shape` is (clip, frame, h, w). Holes are ragged patches, and a band along the left or right
    edge.
    """
    count, frames, height, width = shape
    coarse, fine = (uniform((count, 1, *size), generator) for size in (COARSE, FINE))
    size = (frames, height, width)
    field = F.interpolate(coarse, size, mode="trilinear")
    field = field + ROUGHNESS * (F.interpolate(fine, size, mode="trilinear") - 0.5)
    time = torch.linspace(0, 1, frames, device=generator.device)[:, None, None]
    level, band = uniform((2, count, 1, 1, 1), generator)
    across = torch.linspace(0, 1, width, device=generator.device).expand(count, 1, 1, width)
    across = torch.where(uniform((count, 1, 1, 1), generator) < 0.5, across, across.flip(-1))
    known = (field[:, 0] >= 0.7 * level * time) & (across >= 0.5 * band * time)
    return known | (time == 0)


def with_holes(
    video: Float[Tensor, "clip 3 frame h w"], known: Bool[Tensor, "clip frame h w"]
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns videos that are -1 at unknown pixels, as warps."""
    return torch.where(known[:, None], video, -1.0)


def mask_videos(known: Bool[Tensor, "clip frame h w"]) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns masks as grey videos: 1 at known pixels, -1 elsewhere."""
    return (2.0 * known[:, None] - 1).expand(-1, 3, -1, -1, -1)


def time_videos(
    shape: tuple[int, int, int, int], generator: torch.Generator
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns videos of the `shape` (clip, frame, h, w) whose uniform colours encode times.

    Half of the clips run from 0 to 1, the others stay at one time.
    """
    count, frames, height, width = shape
    running = torch.linspace(0, 1, frames, device=generator.device).expand(count, frames)
    chance = uniform((2, count, 1), generator)
    times = torch.where(chance[0] < 0.5, running, chance[1])
    vectors = 2 * time_vector(times).movedim(-1, 1) - 1
    return vectors[..., None, None].expand(-1, -1, -1, height, width)
