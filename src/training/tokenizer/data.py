"""Batches for the tokenizer: random parts of random clips, recoloured, and other signals.

Batch number n of a process is always the same at the same progress. All samples are made on the
device of the clips; colours are RGB in [0, 1]. The signals (ray maps, masks, pictures with holes,
times) are videos in about [-1, 1], as the encoder gets them from the generator and the decoder.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras, compose, invert_rigid
from ...geometry.rays import pluecker
from ...tokenizer.latents import time_vector
from ..task import Progress
from .clips import ClipSource, WholeClips
from .config import TokenizerAugmentConfig, TokenizerTrainConfig

GREY = 1 / math.sqrt(3)
# Frames, rows and columns of the coarse and the fine noise of holes.
COARSE, FINE = (3, 4, 6), (5, 24, 40)
ROUGHNESS = 0.35


@dataclass(frozen=True)
class Window:
    """The frames, rows and columns of clips that their samples show."""

    frame: Int[Tensor, "clip frame"]
    row: Int[Tensor, "clip h"]
    column: Int[Tensor, "clip w"]

    def of(self, color: UInt8[Tensor, "clip 3 _ _ _"]) -> UInt8[Tensor, "clip 3 frame h w"]:
        """Returns the samples of whole clips."""
        clip = torch.arange(len(color), device=color.device)[:, None, None, None, None]
        channel = torch.arange(color.shape[1], device=color.device)[:, None, None, None]
        frame = self.frame[:, None, :, None, None]
        row, column = self.row[:, None, None, :, None], self.column[:, None, None, None]
        return color[clip, channel, frame, row, column]

    def first(self, count: int) -> "Window":
        """Returns the window of the first clips."""
        return Window(self.frame[:count], self.row[:count], self.column[:count])


def uniform(
    shape: tuple[int, ...], generator: torch.Generator, lowest: float = 0.0, highest: float = 1.0
) -> Float[Tensor, "..."]:
    """Returns uniform numbers on the generator's device."""
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return lowest + (highest - lowest) * drawn


def draw_window(
    clips: tuple[int, int, int, int],
    crop: tuple[int, int],
    config: TokenizerAugmentConfig,
    generator: torch.Generator,
) -> Window:
    """Returns a random part of each of `clips` (number, frames, height, width).

    A paused clip shows its first frame for up to half of the time, a still one any one frame.
    """
    count, frames, height, width = clips
    chance = uniform((5, count, 1), generator)
    time = torch.arange(frames, device=generator.device).expand(count, frames)
    paused = (time - (chance[0] * (frames + 1) / 2).floor().long()).clamp_min(0)
    any_frame = (chance[0] * frames).floor().long().clamp_max(frames - 1)
    time = torch.where(chance[1] < config.paused, paused, time)
    time = torch.where(chance[1] > 1 - config.still, any_frame, time)
    time = torch.where(chance[2] < config.reversed, frames - 1 - time, time)
    top, left = (
        (chance[part] * (whole - size + 1)).floor().long().clamp_max(whole - size)
        for part, whole, size in ((3, height, crop[0]), (4, width, crop[1]))
    )
    row = top + torch.arange(crop[0], device=generator.device)
    column = left + torch.arange(crop[1], device=generator.device)
    mirrored = uniform((count, 1), generator) < config.mirrored
    return Window(time, row, torch.where(mirrored, column.flip(1), column))


def color_rotations(count: int, generator: torch.Generator) -> Float[Tensor, "{count} 3 3"]:
    """Returns random rotations about the grey axis, half of them mirrored.

    They include the permutations of the three colours.
    """
    angle = uniform((count, 1, 1), generator, 0, 2 * math.pi)
    device = generator.device
    across = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) * GREY
    grey = torch.full((3, 3), 1 / 3, device=device)
    identity = torch.eye(3, device=device)
    # Rodrigues' formula about (1, 1, 1).
    turned = grey + angle.cos() * (identity - grey) + angle.sin() * across
    mirrored = uniform((count, 1, 1), generator) < 0.5
    return torch.where(mirrored, turned[:, [1, 0, 2]], turned)


def recolor(
    color: Float[Tensor, "clip 3 frame h w"],
    share: float,
    config: TokenizerAugmentConfig,
    generator: torch.Generator,
) -> Float[Tensor, "clip 3 frame h w"]:
    """Changes hue, saturation and brightness of a `share` of the clips; clips to [0, 1]."""
    count, device = len(color), color.device
    saturation = uniform((count, 1, 1), generator, *config.saturation)
    brightness = uniform((count, 1, 1), generator, *config.brightness)
    grey, identity = torch.full((3, 3), 1 / 3, device=device), torch.eye(3, device=device)
    change = brightness * (grey + saturation * (color_rotations(count, generator) - grey))
    changed = uniform((count, 1, 1), generator) < share
    matrix = torch.where(changed, change, identity)
    red, green, blue = color.unbind(1)
    weights = matrix[..., None, None, None]
    # Not a matrix product, which would round to 10 bits.
    mixed = weights[:, :, 0] * red[:, None] + weights[:, :, 1] * green[:, None]
    return (mixed + weights[:, :, 2] * blue[:, None]).clamp(0, 1)


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


@dataclass(frozen=True)
class TokenizerBatch:
    """Videos in [-1, 1] (ray maps a little beyond) and the names of their clips.

    `full` marks whole frames, `guidance` is the weight of the guidance loss.
    """

    video: Float[Tensor, "clip 3 frame h w"]
    keys: list[str]
    full: bool = False
    guidance: float = 0.0


class TokenizerBatches:
    """Endless batches; parts of frames first, whole frames in the last share of the run."""

    def __init__(
        self,
        source: ClipSource,
        config: TokenizerTrainConfig,
        progress: Progress,
        seed: Sequence[int],
        position: int,
    ) -> None:
        """Start with batch number `position`; `seed` is that of this process."""
        self.position = position
        self._source, self._config = source, config
        self._progress, self._seed = progress, [*seed]

    def __iter__(self) -> Generator[TokenizerBatch, None, None]:
        """Yield the batches from `position` on."""
        try:
            while True:
                batch = self._draw(self.position, self._progress())
                self.position += 1
                yield batch
        finally:
            self._source.close()

    def _draw(self, position: int, progress: float) -> TokenizerBatch:
        data, augment = self._config.data, self._config.augment
        # A share of 0 means no whole frames, at progress 1 too.
        full = data.full_frame_share > 0 and progress >= 1 - data.full_frame_share
        count = data.full_frame_batch if full else self._config.loop.batch_size
        clips = self._source.draw(position, count, progress)
        share = (1 - progress) * augment.color_early + progress * augment.color_late
        seed = np.random.SeedSequence([*self._seed, position])
        crop = data.image_size if full else data.crop
        video = draw_samples(clips, crop, augment, color_share=share, seed=seed)
        guidance = self._config.guided.weight(progress)
        return TokenizerBatch(video, clips.keys, full=full, guidance=guidance)


def draw_samples(
    clips: WholeClips,
    crop: tuple[int, int],
    config: TokenizerAugmentConfig,
    color_share: float,
    seed: np.random.SeedSequence,
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns a sample of each clip, in [-1, 1]; the first ones may be other signals.

    Samples have the size `crop`; a `color_share` of them gets other colours.
    """
    color, cameras = clips.color, clips.cameras
    count, _, frames, height, width = color.shape
    generator = torch.Generator(color.device)
    generator.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
    window = draw_window((count, frames, height, width), crop, config, generator)
    pictures = recolor(window.of(color).float() / 255, color_share, config, generator)
    video = 2 * pictures - 1
    shares = [config.pluecker, config.masks, config.times, config.holes]
    drawn = np.random.default_rng(seed).multinomial(count, [*shares, 1 - sum(shares)]).tolist()
    rays, masks, times, holed, _ = drawn
    parts = []
    if rays:
        some = cameras[slice(rays)]
        parts.append(ray_videos(some, window.first(rays), generator))
    if masks:
        parts.append(mask_videos(known_pixels((masks, frames, *crop), generator)))
    if times:
        parts.append(time_videos((times, frames, *crop), generator))
    first = rays + masks + times
    if holed:
        known = known_pixels((holed, frames, *crop), generator)
        parts.append(with_holes(video[first : first + holed], known))
    return torch.cat([*parts, video[first + holed :]])
