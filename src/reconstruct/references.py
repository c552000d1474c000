"""The reference frames and depths that renderings are compared with, and the input clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from ..io.image import to_uint8
from ..models.data.example import Example
from ..runtime import InputError
from ..tokenizer.cosmos import VideoTokenizer
from .config import OutputConfig
from .pictures.sheet import read_input


@dataclass(frozen=True)
class References:
    """Reference frames and depths of all targets, on the CPU; None where unknown.

    `input` holds the input clips, one after another; `source` pictures of any size that the clips
    were made from.
    """

    color: UInt8[Tensor, "target h w 3"] | None = None
    depth: Float[Tensor, "target h w"] | None = None
    input: UInt8[Tensor, "all_frames h w 3"] | None = None
    source: Sequence[UInt8[Tensor, "_ _ 3"]] = ()


def find_references(
    example: Example, tokenizer: VideoTokenizer, config: OutputConfig, meta: Mapping[str, object]
) -> References:
    """Returns the known references; decodes latents if the output's settings ask for it.

    `meta` is the description of the first clip. Raises `InputError` if the input video is wanted,
    but the inputs are latents that are not decoded.
    """
    targets = example.targets
    color = targets.color
    if color is not None:
        color = color if color.dtype == torch.uint8 else to_uint8(color, 0, 1)
        color = color.permute(0, 2, 3, 1)
    clips = None
    if config.decode_latents:
        clips = _decode(example, tokenizer)
        color = clips[targets.trajectory, targets.frame]
    elif config.input_video:
        if example.video is None:
            expected = "input frames; latents need output.decode_latents (save_rgb_decoding)"
            raise InputError("output.input_video", f"latents of scene {example.key!r}", expected)
        clips = rearrange(to_uint8(example.video), "v c t h w -> v t h w c")
    wanted = config.sheet and not config.eval_only
    source = read_input(meta, len(example.source_times)) if wanted else ()
    shown = clips.flatten(0, 1) if clips is not None and config.input_video else None
    return References(color=color, depth=targets.depth, input=shown, source=source)


@torch.no_grad()
def _decode(example: Example, tokenizer: VideoTokenizer) -> UInt8[Tensor, "traj frame h w 3"]:
    """Decodes the latents, one trajectory at a time on the tokenizer's device."""
    if example.latents is None:
        expected = "latents on disk, to decode them"
        raise InputError("output.decode_latents", f"scene {example.key!r} read as video", expected)
    device = tokenizer.mean.device
    clips = [to_uint8(tokenizer.decode(latent[None].to(device)))[0] for latent in example.latents]
    return rearrange(torch.stack([clip.cpu() for clip in clips]), "v c t h w -> v t h w c")
