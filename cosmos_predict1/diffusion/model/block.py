"""A transformer block with diffusers' layers: self-attention, attention to the text, MLP.

Without gradients on a CUDA device its steps are fused Triton kernels; elsewhere, and in a compiled
block, they are the operations of diffusers, bit for bit.
"""

from types import ModuleType
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.models.recon.jit import INSTALLED

from .kernels import fused, twin
from .kernels.attention import Kind, attend, attend_8_bit
from .kernels.rows import Float8Linear, Float8Rows
from .kernels.twin import Modulation, Rotary, Tokens

Backend = Literal["auto", "cuda", "torch"]
# Tokens of the MLP at a time: at full size its hidden layer would take 1.7 GiB, twice.
CHUNK = 16384
# Heads and lengths for which 8-bit attention is made.
HEAD, FEWEST = 128, 4096


class TransformerBlock(nn.Module):
    """A block of the network; parameters are named as in diffusers' block."""

    def __init__(self, layers: nn.Module) -> None:
        """Take the layers of a block of diffusers."""
        super().__init__()
        given = cast(Any, layers)
        self.norm1, self.attn1 = given.norm1, given.attn1
        self.norm2, self.attn2 = given.norm2, given.attn2
        self.norm3, self.ff = given.norm3, given.ff
        # Attention with another processor of diffusers is left to that one.
        self._processors = (self.attn1.processor, self.attn2.processor)
        self.backend: Backend = "auto"
        self.attention: Literal["exact"] | Kind = "exact"

    def forward(
        self,
        tokens: Tokens,
        text: Float[Tensor, "batch text_token context"],
        time: Float[Tensor, "batch width"],
        time_lora: Float[Tensor, "batch width3"],
        rotary: Rotary,
        position: Float[Tensor, "1 token width"],
    ) -> Tokens:
        """Returns the tokens after the block."""
        steps = _steps(tokens, self.backend)
        modulation, gate = _modulation(self.norm1, time, time_lora)
        rows = self._rows(self.attn1)
        tokens, normed = steps.modulated_norm(tokens, None, None, position, modulation, rows)
        branch = self._attention(steps, self.attn1, normed, rotary=rotary)
        modulation, after = _modulation(self.norm2, time, time_lora)
        rows = self._rows(self.attn2)
        tokens, normed = steps.modulated_norm(tokens, branch, gate, None, modulation, rows)
        branch = self._attention(steps, self.attn2, normed, text)
        modulation, gate = _modulation(self.norm3, time, time_lora)
        rows = _takes_rows(self.ff.net[0].proj)
        tokens, normed = steps.modulated_norm(tokens, branch, after, None, modulation, rows)
        return steps.added(tokens, self._feed_forward(steps, normed, tokens), gate)

    def _attention(
        self,
        steps: ModuleType,
        layers: Any,
        normed: Tokens | Float8Rows,
        text: Float[Tensor, "batch text_token context"] | None = None,
        rotary: Rotary | None = None,
    ) -> Tokens:
        """Returns attention to the text, or to the tokens without one."""
        if layers.processor not in self._processors:
            return layers(normed, encoder_hidden_states=text, image_rotary_emb=rotary)
        source = normed if text is None else text
        # The text's keys and values are the same in all steps, but 0.02 % of the work.
        query, key, value = (
            layer(part).unflatten(-1, (layers.heads, -1))
            for layer, part in ((layers.to_q, normed), (layers.to_k, source), (layers.to_v, source))
        )
        query = steps.normed_heads(query, layers.norm_q.weight, rotary)
        key = steps.normed_heads(key, layers.norm_k.weight, rotary)
        fits = text is None and query.shape[-1] == HEAD and query.shape[1] >= FEWEST
        if self.attention != "exact" and steps is fused and fits:
            mixed = attend_8_bit(query, key, value, self.attention)
        else:
            mixed = attend(query, key, value)
        return self._projected(steps, layers, mixed.flatten(2))

    def _projected(self, steps: ModuleType, layers: Any, mixed: Tokens) -> Tokens:
        last = layers.to_out[0]
        return last(steps.rows_of(mixed) if _takes_rows(last) else mixed)

    def _rows(self, layers: Any) -> bool:
        return _takes_rows(layers.to_q) and layers.processor in self._processors

    def _feed_forward(
        self, steps: ModuleType, normed: Tokens | Float8Rows, tokens: Tokens
    ) -> Tokens:
        length = tokens.shape[1]
        if steps is twin or length <= CHUNK:
            return self._perceptron(steps, normed)
        out = torch.empty_like(tokens)
        size = -(-length // -(-length // CHUNK))
        for start in range(0, length, size):
            part = slice(start, start + size)
            out[:, part] = self._perceptron(steps, normed[:, part])
        return out

    def _perceptron(self, steps: ModuleType, normed: Tokens | Float8Rows) -> Tokens:
        first, last = self.ff.net[0], self.ff.net[2]
        if not _takes_rows(last):
            return self.ff(normed)
        return last(steps.gelu_rows(first.proj(normed)))


def _steps(tokens: Tokens, backend: Backend) -> ModuleType:
    """Returns the module of the steps: with "auto" the kernels where they can run."""
    if backend != "auto":
        return fused if backend == "cuda" else twin
    watched = torch.is_grad_enabled() or torch.compiler.is_compiling()
    # Autocast mixes types, and the kernels would round the residual stream to the smaller one.
    watched = watched or torch.is_autocast_enabled("cuda")
    return fused if INSTALLED and tokens.is_cuda and not watched else twin


def _modulation(
    norm: nn.Module, time: Float[Tensor, "batch width"], time_lora: Float[Tensor, "batch width3"]
) -> tuple[Modulation, Float[Tensor, "batch width"]]:
    """Returns shift and factor of a norm, and the gate of the branch behind it."""
    layers = cast(Any, norm)
    shift, factor, gate = (
        layers.linear_2(layers.linear_1(layers.activation(time))) + time_lora
    ).chunk(3, dim=-1)
    return (shift, factor), gate


def _takes_rows(layer: nn.Module) -> bool:
    return isinstance(layer, Float8Linear) and layer.takes_rows
