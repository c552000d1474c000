"""Figures of a tokenizer: on held-out worlds, and on photographs and videos (PSNR over RGB)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.evaluation.metrics import clip_errors
from src.io.image import find_images, read_image, round_to_uint8, write_png
from src.runtime import default_device
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import load_tokenizer
from src.training.task import Validation, joined
from src.training.tokenizer.config import PoolConfig, TokenizerDataConfig
from src.training.tokenizer.figures import PICTURED, measure_clip

from ...data.pools import seeded_clips
from ...seeds import VALIDATE
from ..footage import read_footage, sliding_window


def world_figures(
    data: TokenizerDataConfig,
    folder: Path,
    count: int,
    report: Path | None = None,
    device: torch.device | None = None,
) -> dict[str, dict[str, float]]:
    """Returns figures of still and moving held-out worlds; `report` receives a sheet of each."""
    figures = {}
    for name, dynamic in (("static", False), ("dynamic", True)):
        seeds, kind = VALIDATE.seeds(count, dynamic), PoolConfig(dynamic=dynamic)
        clips = seeded_clips(seeds, kind, data, device or default_device()).color[:, 0]
        measured = measure(folder, clips)
        figures[name] = measured.figures
        if report is not None and measured.picture is not None:
            write_png(report / f"{name}.png", measured.picture)
    return figures


def measure(folder: Path, clips: UInt8[Tensor, "clip 3 frame h w"]) -> Validation:
    """Returns the figures of a tokenizer folder on clips, in float32, with a sheet."""
    tokenizer, parts = load_tokenizer(folder, clips.device), []
    for clip in clips.split(1):
        video = clip.float() / 127.5 - 1
        decoded = tokenizer.decode(tokenizer.encode(video))
        parts.append(measure_clip(decoded, video, draw=len(parts) < PICTURED))
    return joined(parts)


def footage_figures(
    folder: Path,
    size: tuple[int, int],
    photos: Sequence[Path] = (),
    videos: Sequence[str] = (),
    worlds: int = 0,
    output: Path | None = None,
) -> dict[str, Any]:
    """Returns figures of a tokenizer on photographs, videos and `worlds` held-out worlds.

    Photographs may be folders of them; videos are PATH or PATH:STRIDE, a file or a folder of
    pictures. `output` receives a sheet of each clip. Raises `InputError` for unreadable footage.
    """
    tokenizer = load_tokenizer(folder)
    figures: dict[str, Any] = {"size": size, "photographs": {}, "videos": {}}
    given = [find_images(path) if path.is_dir() else [path] for path in photos]
    for file in [file for files in given for file in files]:
        clip = sliding_window(read_image(file), size)
        first = _psnr(_coded(tokenizer, clip[:, :1]), clip[:, :1])
        window = _clip_psnr(tokenizer, clip, output and output / f"{file.stem}.png")
        figures["photographs"][file.stem] = {"first": first, "window": window}
    for name in videos:
        path, _, stride = name.partition(":")
        clip = read_footage(Path(path), size, stride=int(stride or 1))
        sheet = output and output / f"{Path(path).stem}.png"
        figures["videos"][path] = _clip_psnr(tokenizer, clip, sheet)
    found = figures["photographs"].values()
    figures["mean"] = {
        "first": _mean([part["first"] for part in found]),
        "window": _mean([part["window"] for part in found]),
        "videos": _mean([*figures["videos"].values()]),
    }
    if worlds:
        data = TokenizerDataConfig(image_size=size, crop=size)
        figures["worlds"] = world_figures(data, folder, worlds)
    return figures


def _clip_psnr(
    tokenizer: VideoTokenizer, clip: UInt8[Tensor, "3 frame h w"], sheet: Path | None
) -> float:
    """Returns the PSNR of a clip; writes a sheet of its first and of a later frame."""
    decoded = _coded(tokenizer, clip)
    if sheet is not None:
        later = clip.shape[1] * 3 // 4
        pairs = [part[:, k] for k in (0, later) for part in (clip.float() / 255, decoded)]
        write_png(sheet, round_to_uint8(torch.cat(pairs, 2)).movedim(0, -1))
    return _psnr(decoded, clip)


@torch.no_grad()
def _coded(
    tokenizer: VideoTokenizer, clip: UInt8[Tensor, "3 frame h w"]
) -> Float[Tensor, "3 frame h w"]:
    """Returns a clip after the tokenizer, in about [0, 1]."""
    video = clip[None].float() / 127.5 - 1
    return (tokenizer.decode(tokenizer.encode(video))[0] + 1) / 2


def _psnr(decoded: Float[Tensor, "3 frame h w"], clip: UInt8[Tensor, "3 frame h w"]) -> float:
    return float(clip_errors(decoded[None], clip[None].float() / 255).psnr())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
