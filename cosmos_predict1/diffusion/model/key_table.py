"""The published weight names of the generator beside ours, which are those of diffusers' class.

A published name is `net.` and a name of `SHARED`, or `net.blocks.block<i>.` and a name of `BLOCK`.
The tables name every tensor.
"""

import re
from collections.abc import Mapping

from torch import Tensor

PREFIX = "net."
SHARED = {
    "x_embedder.proj.1.weight": "patch_embed.proj.weight",
    "extra_pos_embedder.pos_emb_t": "learnable_pos_embed.pos_emb_t",
    "extra_pos_embedder.pos_emb_h": "learnable_pos_embed.pos_emb_h",
    "extra_pos_embedder.pos_emb_w": "learnable_pos_embed.pos_emb_w",
    "t_embedder.1.linear_1.weight": "time_embed.t_embedder.linear_1.weight",
    "t_embedder.1.linear_2.weight": "time_embed.t_embedder.linear_2.weight",
    "affline_norm.weight": "time_embed.norm.weight",
    "final_layer.linear.weight": "proj_out.weight",
    "final_layer.adaLN_modulation.1.weight": "norm_out.linear_1.weight",
    "final_layer.adaLN_modulation.2.weight": "norm_out.linear_2.weight",
}
BLOCK = {
    "blocks.0.block.attn.to_q.0.weight": "attn1.to_q.weight",
    "blocks.0.block.attn.to_q.1.weight": "attn1.norm_q.weight",
    "blocks.0.block.attn.to_k.0.weight": "attn1.to_k.weight",
    "blocks.0.block.attn.to_k.1.weight": "attn1.norm_k.weight",
    "blocks.0.block.attn.to_v.0.weight": "attn1.to_v.weight",
    "blocks.0.block.attn.to_out.0.weight": "attn1.to_out.0.weight",
    "blocks.0.adaLN_modulation.1.weight": "norm1.linear_1.weight",
    "blocks.0.adaLN_modulation.2.weight": "norm1.linear_2.weight",
    "blocks.1.block.attn.to_q.0.weight": "attn2.to_q.weight",
    "blocks.1.block.attn.to_q.1.weight": "attn2.norm_q.weight",
    "blocks.1.block.attn.to_k.0.weight": "attn2.to_k.weight",
    "blocks.1.block.attn.to_k.1.weight": "attn2.norm_k.weight",
    "blocks.1.block.attn.to_v.0.weight": "attn2.to_v.weight",
    "blocks.1.block.attn.to_out.0.weight": "attn2.to_out.0.weight",
    "blocks.1.adaLN_modulation.1.weight": "norm2.linear_1.weight",
    "blocks.1.adaLN_modulation.2.weight": "norm2.linear_2.weight",
    "blocks.2.block.layer1.weight": "ff.net.0.proj.weight",
    "blocks.2.block.layer2.weight": "ff.net.2.weight",
    "blocks.2.adaLN_modulation.1.weight": "norm3.linear_1.weight",
    "blocks.2.adaLN_modulation.2.weight": "norm3.linear_2.weight",
}
# Not part of the network: rotary buffers, which are computed; the training's loss weighting and
# its counters; the state of fp8 layers; the conditioner.
DROPPED = re.compile(
    r"(net\.pos_embedder\.|logvar\.|conditioner\.|net\.accum_|accum_).*|.*_extra_state"
)
PUBLISHED_BLOCK = re.compile(r"net\.blocks\.block(\d+)\.(.+)")


def our_name(published: str) -> str | None:
    """Returns our name of a published tensor; None for a dropped one, an unknown name unchanged."""
    if DROPPED.fullmatch(published):
        return None
    match = PUBLISHED_BLOCK.fullmatch(published)
    if match and match[2] in BLOCK:
        return f"transformer_blocks.{match[1]}.{BLOCK[match[2]]}"
    if published.startswith(PREFIX):
        return SHARED.get(published.removeprefix(PREFIX), published)
    return published


def to_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors under our names, without the dropped ones."""
    renamed = ((our_name(name), tensor) for name, tensor in state.items())
    return {name: tensor for name, tensor in renamed if name is not None}
