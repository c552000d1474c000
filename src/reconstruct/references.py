"""What a scene's renderings are compared with: reference frames and depths, and the input clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from ..io.image.pixels import to_uint8
from ..models.data.example import Example
from ..runtime import InputError
from ..tokenizer.cosmos import VideoTokenizer
from .outputs import OutputConfig
from .pictures.sheet import read_input


@dataclass(frozen=True)
class References:
    """Reference frames and depths of all targets and the input clips, on the CPU; None: unknown.

    `source` are pictures of what the clips were made from, of any size.
    """

    color: UInt8[Tensor, "target h w 3"] | None = None
    depth: Float[Tensor, "target h w"] | None = None
    clips: UInt8[Tensor, "traj frame h w 3"] | None = None
    source: Sequence[UInt8[Tensor, "_ _ 3"]] = ()

    @property
    def input(self) -> UInt8[Tensor, "all_frames h w 3"] | None:
        """The input clips, one after another."""
        return None if self.clips is None else self.clips.flatten(0, 1)


def find_references(
    example: Example,
    tokenizer: VideoTokenizer,
    config: OutputConfig,
    meta: Mapping[str, object],
) -> References:
    """What there is to compare with; latents are decoded if the outputs ask for it.

    `meta` says how the first clip was made.

    Raises:
        InputError: the input video is asked for, but the input is latents that are not decoded.
    """
    targets = example.targets
    color = None if targets.color is None else _pictures(targets.color)
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
    return References(color, targets.depth, clips if config.input_video else None, source)


def _pictures(
    color: UInt8[Tensor, "target 3 h w"] | Float[Tensor, "target 3 h w"],
) -> UInt8[Tensor, "target h w 3"]:
    """8-bit pictures of 8-bit frames, or of frames in [0, 1]."""
    frames = color if color.dtype == torch.uint8 else to_uint8(color, 0, 1)
    return frames.permute(0, 2, 3, 1)


@torch.no_grad()
def _decode(example: Example, tokenizer: VideoTokenizer) -> UInt8[Tensor, "traj frame h w 3"]:
    """The tokenizer's decoding of the latents, one trajectory at a time on the device."""
    if example.latents is None:
        expected = "latents on disk, to decode them"
        raise InputError("output.decode_latents", f"scene {example.key!r} read as video", expected)
    device = tokenizer.mean.device
    clips = [to_uint8(tokenizer.decode(latent[None].to(device)))[0] for latent in example.latents]
    return rearrange(torch.stack([clip.cpu() for clip in clips]), "v c t h w -> v t h w c")
