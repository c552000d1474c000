"""A transformer block with diffusers' layers: self-attention, attention to the text, MLP.

Without gradients on a CUDA device its steps are fused Triton kernels; elsewhere, and in a compiled
block, they are the operations of diffusers, bit for bit.
"""

from types import ModuleType
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from src.models.recon.jit import INSTALLED

from .kernels import fused, twin
from .kernels.attention import Heads, Sources, attend, attend_8_bit, attends_in_8_bits
from .kernels.rows import Float8Linear, Float8Rows
from .kernels.twin import Modulation, Rotary, Tokens
from .parallel import begin_tokens_to_heads, heads_to_tokens, tokens_to_heads

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
        self.attention: Literal["exact", "float8"] = "exact"
        self._group: dist.ProcessGroup | None = None

    def share_tokens(self, group: dist.ProcessGroup) -> None:
        """Take consecutive shares of the tokens from now on, one in each process of `group`."""
        self._group = group
        self.attn1.set_processor(self._processors[0])

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
            assert text is not None or self._group is None, "attention to the own tokens alone"
            return layers(normed, encoder_hidden_states=text, image_rotary_emb=rotary)
        if text is None and self._group is not None:
            mixed = cast(Any, self)._shared_attention(normed, rotary, self._group)
        else:
            source = normed if text is None else text
            # The text's keys and values are the same in all steps, but 0.02 % of the work.
            query = _heads(layers, layers.to_q, normed)
            key, value = (_heads(layers, layer, source) for layer in (layers.to_k, layers.to_v))
            query = steps.normed_heads(query, layers.norm_q.weight, rotary)
            key = steps.normed_heads(key, layers.norm_k.weight, rotary)
            mixed = self._mixed(steps, query, key, value, own=text is None)
        return self._projected(steps, layers, mixed.flatten(2))

    # Within a compiled program collectives are other functions.
    @torch.compiler.disable
    def _shared_attention(
        self, normed: Tokens | Float8Rows, rotary: Rotary | None, group: dist.ProcessGroup
    ) -> Heads:
        """Returns attention of the own tokens to those of all processes, with all heads.

        Values travel while keys are computed, and keys while queries are.
        """
        layers: Any = self.attn1
        value = begin_tokens_to_heads(_heads(layers, layers.to_v, normed), group)
        key = _heads(layers, layers.to_k, normed)
        steps = _steps(key, self.backend)
        ready = begin_tokens_to_heads(steps.normed_heads(key, layers.norm_k.weight, rotary), group)
        query = _heads(layers, layers.to_q, normed)
        query = tokens_to_heads(steps.normed_heads(query, layers.norm_q.weight, rotary), group)
        return heads_to_tokens(self._mixed(steps, query, ready(), value(), own=True), group)

    def _mixed(
        self, steps: ModuleType, query: Heads, key: Sources, value: Sources, *, own: bool
    ) -> Heads:
        """Returns the values mixed by attention, in 8 bits where those are wanted and fit."""
        fits = own and query.shape[-1] == HEAD and query.shape[1] >= FEWEST
        wanted = self.attention == "float8" and steps is fused and fits
        if wanted and attends_in_8_bits(query.device):
            return attend_8_bit(query, key, value)
        return attend(query, key, value)

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


def _heads(layers: Any, layer: nn.Module, x: Tokens | Float8Rows) -> Heads:
    """Returns a projection of tokens, cut into heads."""
    return layer(x).unflatten(-1, (layers.heads, -1))


def _steps(tokens: Tensor, backend: Backend) -> ModuleType:
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
