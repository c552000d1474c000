"""Metrics of a predicted video against its reference, frame by frame, in small batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..geometry.fit import cover_size, cut_middle
from ..runtime import InputError, get_logger
from .lpips import BACKBONE_FILE, LINEAR_FILE, LPIPS, load_lpips
from .metrics import SSIM_WINDOW, psnr, ssim
from .sources import Footage, open_footage

LOGGER = get_logger(__name__)
Measure = Callable[[Tensor, Tensor], Tensor]
METRICS = ("psnr", "ssim", "lpips")
# The smallest side of a frame for each metric; VGG16 halves frames four times.
SMALLEST = {"psnr": 1, "ssim": SSIM_WINDOW, "lpips": 16}
# Pixels in memory at once: four frames of 704x1280. VGG16 takes 1.6 GiB for one pair of them.
BATCH_PIXELS, LPIPS_PIXELS = 4 * 704 * 1280, 704 * 1280


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The treatment of two videos of different length or size."""

    # The number of frames from the first on, or as many as both have; None asks for equal lengths.
    frames: int | Literal["common"] | None = None
    # `crop` brings the reference to the size of the prediction.
    resize: Literal["none", "crop"] = "none"


@dataclass(frozen=True)
class Measures:
    """Metrics by name, and the reasons why others cannot be computed."""

    functions: dict[str, Measure]
    missing: dict[str, str]
    device: torch.device


@dataclass(frozen=True)
class Comparison:
    """Two videos and their number of frames to compare, at the size of the prediction."""

    prediction: Footage
    reference: Footage
    num_frames: int


def load_measures(
    names: tuple[str, ...], lpips_folder: Path, device: torch.device | str = "cpu"
) -> Measures:
    """The metrics `names`; LPIPS only if its weights are in `lpips_folder`.

    Raises `InputError` for an unknown name, or weights that cannot be used.
    """
    device = torch.device(device)
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise InputError("metrics", unknown or "none", f"some of {', '.join(METRICS)}")
    table: dict[str, Measure] = {"psnr": psnr, "ssim": ssim}
    functions = {name: table[name] for name in names if name in table}
    missing = {}
    if "lpips" in names:
        absent = [n for n in (BACKBONE_FILE, LINEAR_FILE) if not (lpips_folder / n).is_file()]
        if absent:
            missing["lpips"] = f"no weights in {lpips_folder}"
            words = "lpips is not computed: %s lacks %s; `%s` gets them"
            command = "python scripts/download_checkpoints.py --what lpips"
            LOGGER.warning(words, lpips_folder, " and ".join(absent), command)
        else:
            functions["lpips"] = partial(_lpips_in_chunks, load_lpips(lpips_folder, device))
    return Measures(functions, missing, device)


def plan_comparison(prediction: Path, reference: Path, options: CompareOptions) -> Comparison:
    """Two videos whose lengths and sizes fit, or fit by `options`; else `InputError`."""
    ours, theirs = open_footage(prediction), open_footage(reference)
    both = f"{prediction} and {reference}"
    common = min(ours.num_frames, theirs.num_frames)
    if options.frames is None and ours.num_frames != theirs.num_frames:
        expected = "equal lengths, or --frames, which cuts both"
        raise InputError(both, f"{ours.num_frames} and {theirs.num_frames} frames", expected)
    if isinstance(options.frames, int) and not 0 < options.frames <= common:
        expected = f"at least 1 and at most as many as both have ({common})"
        raise InputError(both, f"--frames {options.frames}", expected)
    sizes = f"{ours.height}x{ours.width} and {theirs.height}x{theirs.width}"
    if options.resize == "none" and (ours.height, ours.width) != (theirs.height, theirs.width):
        raise InputError(both, f"{sizes} pixels", "equal sizes, or --resize crop")
    return Comparison(ours, theirs, options.frames if isinstance(options.frames, int) else common)


@torch.no_grad()
def measure(comparison: Comparison, measures: Measures) -> dict[str, list[float]]:
    """The values of each metric by frame; the PSNR of identical frames is infinite."""
    ours, theirs = comparison.prediction, comparison.reference
    for name in measures.functions:
        if min(ours.height, ours.width) < SMALLEST[name]:
            expected = f"at least {SMALLEST[name]} pixels a side for {name}"
            raise InputError(ours.path, f"{ours.height}x{ours.width} pixels", expected)
    values: dict[str, list[float]] = {name: [] for name in measures.functions}
    size = (ours.height, ours.width)
    batch = max(BATCH_PIXELS // max(ours.height * ours.width, theirs.height * theirs.width), 1)
    batches = (
        _batches(f, comparison.num_frames, batch, device=measures.device) for f in (ours, theirs)
    )
    for predicted, target in zip(*batches, strict=True):
        target = fit_reference(target, size)
        for name, function in measures.functions.items():
            values[name] += function(predicted, target).tolist()
    return values


def fit_reference(
    frames: Float[Tensor, "frame 3 h w"], size: tuple[int, int]
) -> Float[Tensor, "frame 3 new_h new_w"]:
    """The middle of the frames, scaled to cover `size` (height, width) with square pixels."""
    scaled = cover_size(frames.shape[-2], frames.shape[-1], size)
    if scaled != tuple(frames.shape[-2:]):
        # Values between bytes, unlike `Fit.resize`: metrics compare them unrounded.
        frames = F.interpolate(frames, scaled, mode="bilinear", antialias=True)
    return cut_middle(frames, size)


def _batches(
    footage: Footage, count: int, batch: int, device: torch.device
) -> Iterator[Float[Tensor, "frame 3 h w"]]:
    frames = footage.frames(count)
    while chunk := list(islice(frames, batch)):
        yield torch.stack(chunk).to(device).permute(0, 3, 1, 2) / 255


def _lpips_in_chunks(
    network: LPIPS, first: Float[Tensor, "frame 3 h w"], second: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    chunk = max(LPIPS_PIXELS // (first.shape[-2] * first.shape[-1]), 1)
    pairs = zip(first.split(chunk), second.split(chunk), strict=True)
    return torch.cat([network(ours, theirs) for ours, theirs in pairs])
