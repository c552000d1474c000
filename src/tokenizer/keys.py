"""Published tokenizer weight names, as a table beside diffusers' names.

Native names are those of `model.pt`, `autoencoder.jit`, `encoder.jit` and `decoder.jit`; ours are
those of `AutoencoderKLCosmos`. Replacements are substring replacements, applied in order.
"""

import re
from collections.abc import Mapping

from torch import Tensor

RENAMES = (
    ("down.0", "down_blocks.0"),
    ("down.1", "down_blocks.1"),
    ("down.2", "down_blocks.2"),
    ("up.0", "up_blocks.2"),
    ("up.1", "up_blocks.1"),
    ("up.2", "up_blocks.0"),
    (".block.", ".resnets."),
    ("downsample.", "downsamplers.0."),
    ("upsample.", "upsamplers.0."),
    ("mid.block_1", "mid_block.resnets.0"),
    ("mid.block_2", "mid_block.resnets.1"),
    ("mid.attn_1.0", "mid_block.attentions.0"),
    ("mid.attn_1.1", "mid_block.temp_attentions.0"),
    (".q.conv3d", ".to_q"),
    (".k.conv3d", ".to_k"),
    (".v.conv3d", ".to_v"),
    (".proj_out.conv3d", ".to_out.0"),
    (".0.conv3d", ".conv_s"),
    (".1.conv3d", ".conv_t"),
    ("nin_shortcut.conv3d", "conv_shortcut"),
    ("conv1.conv3d", "conv1"),
    ("conv2.conv3d", "conv2"),
    ("conv3.conv3d", "conv3"),
    ("quant_conv.conv3d", "quant_conv"),
)
# Haar wavelet constants and patch sizes: diffusers computes them.
DROPPED = re.compile(r"(patcher3d|unpatcher3d)\.")


def to_diffusers_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under diffusers' names, without the wavelet buffers."""
    renamed = {}
    for name, tensor in state.items():
        if DROPPED.search(name):
            continue
        for native, ours in RENAMES:
            name = name.replace(native, ours)
        renamed[name] = tensor
    return renamed


def native_architecture(state: Mapping[str, Tensor]) -> dict[str, object]:
    """The `AutoencoderKLCosmos` arguments that fit native weights; `KeyError` if one is missing."""
    encoder = [state["encoder.conv_in.0.conv3d.weight"].shape[0]]
    encoder += [state[f"encoder.down.{i}.block.0.norm2.norm.weight"].shape[0] for i in range(3)]
    decoder = [state[f"decoder.up.{i}.block.0.norm2.norm.weight"].shape[0] for i in range(3)]
    decoder += [state["decoder.conv_in.0.conv3d.weight"].shape[0]]
    block = re.compile(r"encoder\.down\.0\.block\.(\d+)\.norm1\.norm\.weight")
    return {
        "encoder_block_out_channels": tuple(encoder),
        "decode_block_out_channels": tuple(decoder),
        "num_layers": sum(block.fullmatch(name) is not None for name in state),
        "latent_channels": state["decoder.conv_in.0.conv3d.weight"].shape[1],
    }
