"""GEN3C's `model.pt` as it is published: names under `net.`, and what else the file holds.

Names and shapes are written from the specification (sdg.md, 4.5), not from the program's tables.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from published.random_tensors import RandomTensors
from torch import Tensor

from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig

ENTRIES, PARAMETERS = 574, 7_237_257_216
MLP = 4
# Of another program; the trailing comma makes it no JSON.
FOREIGN_CONFIG = '{"architectures": ["CosmosDiffusionModel"],}\n'


@dataclass(frozen=True)
class GeneratorSize:
    """Sizes of the network; the defaults are the published ones."""

    heads: int = 32
    head: int = 128
    blocks: int = 28
    text: int = 1024
    lora: int = 256
    positions: tuple[int, int, int] = (128, 120, 120)

    @property
    def width(self) -> int:
        return self.heads * self.head

    def config(self, sampling: SamplingDefaults) -> TransformerConfig:
        """Our configuration of these sizes, which a folder of a smaller network needs."""
        return TransformerConfig(
            num_attention_heads=self.heads,
            attention_head_dim=self.head,
            num_layers=self.blocks,
            text_embed_dim=self.text,
            adaln_lora_dim=self.lora,
            sampling=sampling,
        )


def network_shapes(size: GeneratorSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the network's parameters."""
    width, lora = size.width, size.lora
    # 16 latent, 1 mask, 64 warp and 1 padding channel in patches of 2 x 2.
    yield "net.x_embedder.proj.1.weight", (width, 328)
    for axis, length in zip("thw", size.positions, strict=True):
        yield f"net.extra_pos_embedder.pos_emb_{axis}", (length, width)
    yield "net.t_embedder.1.linear_1.weight", (width, width)
    yield "net.t_embedder.1.linear_2.weight", (3 * width, width)
    yield "net.affline_norm.weight", (width,)
    for index in range(size.blocks):
        for name, shape in _block_shapes(size):
            yield f"net.blocks.block{index}.blocks.{name}", shape
    yield "net.final_layer.linear.weight", (64, width)
    yield "net.final_layer.adaLN_modulation.1.weight", (lora, width)
    yield "net.final_layer.adaLN_modulation.2.weight", (2 * width, lora)


def _block_shapes(size: GeneratorSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = size.width
    for number, context in ((0, width), (1, size.text)):
        attention = f"{number}.block.attn"
        for letter, inner in (("q", width), ("k", context), ("v", context)):
            yield f"{attention}.to_{letter}.0.weight", (width, inner)
        for letter in "qk":
            yield f"{attention}.to_{letter}.1.weight", (size.head,)
        yield f"{attention}.to_out.0.weight", (width, width)
    yield "2.block.layer1.weight", (MLP * width, width)
    yield "2.block.layer2.weight", (width, MLP * width)
    for number in range(3):
        yield f"{number}.adaLN_modulation.1.weight", (size.lora, width)
        yield f"{number}.adaLN_modulation.2.weight", (3 * width, size.lora)


def generator_state(size: GeneratorSize, numbers: RandomTensors) -> dict[str, object]:
    """The content of the file in bfloat16, activations and outputs of the network being O(1)."""
    kind = torch.bfloat16
    state: dict[str, object] = {}
    for name, shape in network_shapes(size):
        if len(shape) == 1:
            state[name] = numbers.normal(shape, 0.02, 1.0, kind)
        elif "pos_emb_" in name:
            state[name] = numbers.normal(shape, 0.5, dtype=kind)
        else:
            gain = 0.2 if "adaLN_modulation" in name or "t_embedder" in name else 1.0
            gain = 0.5 if "final_layer.linear" in name else gain
            state[name] = numbers.normal(shape, gain / shape[1] ** 0.5, dtype=kind)
    found = [part for part in state.values() if isinstance(part, Tensor)]
    if size == GeneratorSize():
        assert sum(part.numel() for part in found) == PARAMETERS, "parameters of the generator"
    return _with_extras(state, size, numbers)


def _with_extras(
    state: dict[str, object], size: GeneratorSize, numbers: RandomTensors
) -> dict[str, object]:
    """The state with what does not belong to the network: 4 tensors, counters, byte buffers."""
    kind = torch.bfloat16
    state["net.pos_embedder.seq"] = torch.arange(128, dtype=kind)
    for name, shape in (("0.freqs", (128,)), ("0.phases", (128,)), ("1.weight", (1, 128))):
        state[f"logvar.{name}"] = numbers.normal(shape, 1.0, dtype=kind)
    if size == GeneratorSize():
        assert len(state) == ENTRIES, len(state)
    for name in ("video_sample_counter", "image_sample_counter", "iteration", "train_in_hours"):
        state[f"net.accum_{name}"] = torch.zeros(1)
    for index in range(size.blocks):
        for name in ("to_q.0", "to_q.1", "to_k.0", "to_k.1", "to_v.0", "to_out.0", "attn_op"):
            part = f"net.blocks.block{index}.blocks.0.block.attn.{name}._extra_state"
            state[part] = _layer_state()
    return state


def _layer_state() -> io.BytesIO:
    """What a layer for fp8 keeps where fp8 is off: a file in memory that holds nothing."""
    buffer = io.BytesIO()
    torch.save(None, buffer)
    return buffer


def write_generator(folder: Path, size: GeneratorSize, numbers: RandomTensors) -> None:
    """Write `model.pt`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(generator_state(size, numbers), folder / "model.pt")
