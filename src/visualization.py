"""Pictures for people: depth colours, the wave that reveals a scene, sheets, curves.

A plot's plane has the coordinates of the data; its canvas has twice the size of the picture, to
which it is reduced to smooth the lines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .io.image import round_to_uint8

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SCALE = 2
WIDTH, HEIGHT = 960 * SCALE, 480 * SCALE
LEFT, RIGHT, TOP, BOTTOM = 84 * SCALE, WIDTH - 28 * SCALE, 76 * SCALE, HEIGHT - 60 * SCALE
CURVE, BAND, GRID = (31, 94, 168), (208, 223, 240), (228, 230, 234)
INK, FAINT = (38, 42, 50), (104, 110, 122)
TICKS_X, TICKS_Y = 10, 6
LOW, HIGH = 0.01, 0.99
# Enough samples for a quantile; torch sorts at most 2**24.
MAX_SAMPLES = 2**20
# Frames of the wave: the picture alone, then with the band of light.
HELD_FRAMES, WAVE_FRAMES = 24, 25
# Half width of the band in scene units, and its colours (8-bit RGB) at the near and the far end.
HALF_WIDTH = 0.4
NEAR_COLOR, FAR_COLOR = (255, 230, 200), (200, 220, 255)


@dataclass(frozen=True)
class _Plane:
    """The visible part of the data, drawn on the whole canvas."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point of the data on the canvas."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)


def plot_curve(
    mean: Sequence[float | None],
    std: Sequence[float | None],
    *,
    title: str,
    subtitle: str,
    x: str,
) -> UInt8[Tensor, "h w 3"]:
    """A curve over 0, 1, 2, ... with a band of plus and minus `std`; None makes a gap.

    The title is above the subtitle; `x` is the word below the horizontal axis.
    """
    from PIL import Image, ImageDraw

    assert len(mean) == len(std) > 0, f"{len(mean)} values and {len(std)} deviations"
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    runs = _runs(mean, std)
    plane = _frame_data(runs, len(mean))
    for run in runs:
        upper = [plane.place(at, y + spread) for at, y, spread in run]
        lower = [plane.place(at, y - spread) for at, y, spread in reversed(run)]
        if len(run) > 1:
            draw.polygon(upper + lower, fill=BAND)
    _draw_axes(draw, plane)
    middle = ((LEFT + RIGHT) / 2, HEIGHT - 10 * SCALE)
    _write(draw, middle, x, size=15, anchor="md", color=INK)
    _write(draw, (LEFT, 36 * SCALE), title, size=20, anchor="ls", color=INK)
    _write(draw, (LEFT, 60 * SCALE), subtitle, size=14, anchor="ls", color=FAINT)
    for run in runs:
        points = [plane.place(at, y) for at, y, _ in run]
        draw.line(points, fill=CURVE, width=5 * SCALE // 2, joint="curve")
        # Dots show few values, and single ones between gaps.
        if len(mean) <= 32 or len(run) == 1:
            for point in points:
                draw.circle(point, 3.5 * SCALE, fill=CURVE)
    if not runs:
        centre = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)
        _write(draw, centre, "no finite values", size=16, anchor="mm", color=FAINT)
    reduced = image.resize((WIDTH // SCALE, HEIGHT // SCALE), Image.Resampling.BOX)
    return torch.from_numpy(np.array(reduced))


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """At most `count + 1` multiples of 1, 2 or 5 times a power of ten in [low, high]."""
    assert low < high and count >= 1, f"ticks of [{low}, {high}], {count} of them"
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _runs(
    mean: Sequence[float | None], std: Sequence[float | None]
) -> list[list[tuple[float, float, float]]]:
    """The stretches without a gap, as (place, value, deviation)."""
    runs: list[list[tuple[float, float, float]]] = [[]]
    for x, (y, spread) in enumerate(zip(mean, std, strict=True)):
        if y is not None and math.isfinite(y):
            runs[-1].append((float(x), y, spread or 0.0))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _frame_data(runs: list[list[tuple[float, float, float]]], length: int) -> _Plane:
    points = [point for run in runs for point in run] or [(0.0, 0.5, 0.5)]
    low, high = min(y - s for _, y, s in points), max(y + s for _, y, s in points)
    # A constant curve runs through the middle.
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    margin = 0.5 if length == 1 else 0.0
    return _Plane((-margin, length - 1 + margin), (low - room, high + room))


def _draw_axes(draw: "ImageDraw", plane: _Plane) -> None:
    ticks = nice_ticks(plane.y[0], plane.y[1], TICKS_Y)
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)) if len(ticks) > 1 else 2
    for tick in ticks:
        x, y = plane.place(plane.x[0], tick)
        draw.line([(LEFT, y), (RIGHT, y)], fill=GRID, width=SCALE)
        _write(draw, (x - 10 * SCALE, y), f"{tick:.{digits}f}", size=14, anchor="rm", color=INK)
    for tick in nice_ticks(plane.x[0], plane.x[1], TICKS_X):
        if tick != int(tick):
            continue
        x, _ = plane.place(tick, plane.y[0])
        draw.line([(x, BOTTOM), (x, BOTTOM + 6 * SCALE)], fill=INK, width=SCALE)
        _write(draw, (x, BOTTOM + 10 * SCALE), f"{tick:.0f}", size=14, anchor="ma", color=INK)
    draw.line([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], fill=INK, width=SCALE)


def _write(
    draw: "ImageDraw",
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    color: tuple[int, int, int],
) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size * SCALE)
    draw.text(place, text, fill=color, font=font, anchor=anchor)


def depth_range(depth: Float[Tensor, "*shape"]) -> tuple[float, float]:
    """The 1 % and 99 % quantiles of all finite values, from an even sample; (0, 1) if none."""
    values = depth.flatten()
    values = values[:: max(1, values.numel() // MAX_SAMPLES)].float()
    values = values[torch.isfinite(values)]
    if not values.numel():
        return 0.0, 1.0
    low, high = torch.quantile(values, values.new_tensor([LOW, HIGH])).tolist()
    return low, high


def colorize_depth(
    depth: Float[Tensor, "frame h w"], limits: tuple[float, float] | None = None
) -> UInt8[Tensor, "frame h w 3"]:
    """RGB of a depth clip, one colour scale for all frames; `limits` are its near and far ends."""
    position = _position(depth.float(), limits or depth_range(depth))
    return round_to_uint8(_jet(1 - position))


def depth_wave(
    frame: UInt8[Tensor, "h w 3"], depth: Float[Tensor, "h w"]
) -> UInt8[Tensor, "wave h w 3"]:
    """The picture for 24 frames, then 25 frames in which a band of light runs from near to far.

    `depth` is z in scene units; the band runs over its 1 % to 99 % quantiles.
    """
    near, far = depth_range(depth)
    steps = torch.linspace(near, far, WAVE_FRAMES, device=depth.device)
    distance = (depth[None] - steps[:, None, None]).abs()
    weight = torch.cos(math.pi / 2 * distance / HALF_WIDTH) ** 2
    weight = torch.where(distance <= HALF_WIDTH, weight, 0)[..., None]
    position = _position(depth, (near, far))[..., None]
    near_color, far_color = position.new_tensor(NEAR_COLOR), position.new_tensor(FAR_COLOR)
    light = near_color + position * (far_color - near_color)
    waves = frame + weight * (light - frame)
    held = frame[None].expand(HELD_FRAMES, -1, -1, -1)
    return torch.cat([held, waves.round().to(torch.uint8)])


def _position(
    depth: Float[Tensor, "*shape"], limits: tuple[float, float]
) -> Float[Tensor, "*shape"]:
    """0 at the near end of `limits`, 1 at the far end and where depth is NaN."""
    near, far = limits
    return ((depth - near) / max(far - near, 1e-12)).nan_to_num(1).clamp(0, 1)


def _jet(position: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
    """The "jet" colour map: blue at 0, green at 1/2, red at 1."""
    centres = position.new_tensor([3.0, 2.0, 1.0])
    return (1.5 - (4 * position[..., None] - centres).abs()).clamp(0, 1)


def side_by_side(
    clips: Sequence[UInt8[Tensor, "_ h _ 3"]],
) -> UInt8[Tensor, "frame h _ 3"]:
    """Clips of equal height next to each other, left to right, cut to the shortest."""
    length = min(clip.shape[0] for clip in clips)
    return torch.cat([clip[:length] for clip in clips], dim=2)


def contact_sheet(
    pictures: UInt8[Tensor, "picture h w 3"], columns: int | None = None, gap: int = 4
) -> UInt8[Tensor, "sheet_h sheet_w 3"]:
    """Pictures in rows on white, `gap` pixels apart; by default the sheet is about square."""
    count, height, width, _ = pictures.shape
    assert count > 0, "a contact sheet needs at least one picture, got 0"
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = pictures.new_full(size, 255)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
