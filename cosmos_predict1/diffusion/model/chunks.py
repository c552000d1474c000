"""A transformer block that works on some tokens at a time, where memory is short.

The hidden layer of a block's MLP is four times as wide as the block, and its attention has float32
copies of rotated queries and keys: 1.7 and 2.6 GiB for 56,320 tokens. In chunks of tokens they
never exist whole; keys and values do. The results are the same within rounding.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .network import Gen3CTransformer

Rotary = tuple[Float[Tensor, "source head_dim"], Float[Tensor, "source head_dim"]]


def chunk_tokens(network: Gen3CTransformer, size: int) -> None:
    """Let MLP and attention of every block work on `size` tokens at a time; for inference."""
    for block in network.transformer_blocks:
        parts: Any = block
        # The names of the weights stay.
        parts.ff.forward = chunked(parts.ff.forward, size)
        for attention in (parts.attn1, parts.attn2):
            attention.set_processor(ChunkedAttention(size))


def chunked(forward: Callable[[Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """Returns a function of tokens, each by itself, that computes `size` of them at a time."""

    def in_chunks(
        x: Float[Tensor, "batch token width"],
    ) -> Float[Tensor, "batch token width"]:
        result = torch.empty_like(x)
        for part in _parts(x.shape[1], size):
            result[:, part] = forward(x[:, part])
        return result

    return in_chunks


class ChunkedAttention:
    """A processor of diffusers' attention module, without mask, for `size` tokens at a time."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "batch token width"],
        encoder_hidden_states: Float[Tensor, "batch source context"] | None = None,
        attention_mask: None = None,
        image_rotary_emb: Rotary | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """Returns the attention's output; rotary tables come with self-attention only."""
        x, rotary = hidden_states, image_rotary_emb
        context = x if encoder_hidden_states is None else encoder_hidden_states
        shape = (*context.shape[:2], attn.heads, attn.to_k.out_features // attn.heads)
        key, value = context.new_empty(shape), context.new_empty(shape)
        for part in _parts(context.shape[1], self.size):
            piece = context[:, part]
            key[:, part] = _rotated(attn.norm_k(_heads(attn, attn.to_k(piece))), rotary, part)
            value[:, part] = _heads(attn, attn.to_v(piece))
        result = torch.empty_like(x)
        for part in _parts(x.shape[1], self.size):
            query = _rotated(attn.norm_q(_heads(attn, attn.to_q(x[:, part]))), rotary, part)
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
            )
            result[:, part] = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return result


def _parts(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` of `count` tokens."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _heads(
    attn: Any, x: Float[Tensor, "batch token width"]
) -> Float[Tensor, "batch token head head_dim"]:
    return x.unflatten(2, (attn.heads, -1))


def _rotated(
    x: Float[Tensor, "batch token head head_dim"], rotary: Rotary | None, part: slice
) -> Float[Tensor, "batch token head head_dim"]:
    """Rotates heads by the tables' rows of their tokens."""
    if rotary is None:
        return x
    from diffusers.models.embeddings import apply_rotary_emb

    # Its annotations say something else than its code.
    rotate, tables = cast(Any, apply_rotary_emb), (rotary[0][part], rotary[1][part])
    return rotate(x, tables, use_real=True, use_real_unbind_dim=-2, sequence_dim=1)
