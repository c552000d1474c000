"""The repository of the tokenizer as it is published: TorchScript, statistics, a training's state.

Names and shapes are written from the specification (sdg.md, appendix A). The archives hold the
parameters under their names and a forward pass that returns its input: they are read, never run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from published.random_tensors import RandomTensors
from torch import Tensor, nn

ENTRIES, PARAMETERS = 315, 105_653_696
# As in the sibling repository: no JSON.
FOREIGN_CONFIG = '{"architectures": ["CosmosTokenizer"],}\n'
BASE = 128
"""Channels of the first layer, published; every other width is a multiple of it."""
Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class TokenizerSize:
    """Channels of the first layer; the others are 2 and 4 times as many."""

    base: int = BASE


def _spatial(name: str, a: int, b: int) -> Shapes:
    return _conv(name, (b, a, 1, 3, 3))


def _temporal(name: str, a: int) -> Shapes:
    return _conv(name, (a, a, 3, 1, 1))


def _point(name: str, a: int, b: int) -> Shapes:
    return _conv(name, (b, a, 1, 1, 1))


def _conv(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.conv3d.weight", shape
    yield f"{name}.conv3d.bias", shape[:1]


def _norm(name: str, a: int) -> Shapes:
    yield f"{name}.norm.weight", (a,)
    yield f"{name}.norm.bias", (a,)


def _pair(name: str, a: int, b: int) -> Shapes:
    """A convolution in space, then one in time."""
    yield from _spatial(f"{name}.0", a, b)
    yield from _temporal(f"{name}.1", b)


def _block(name: str, a: int, b: int) -> Shapes:
    yield from _norm(f"{name}.norm1", a)
    yield from _pair(f"{name}.conv1", a, b)
    yield from _norm(f"{name}.norm2", b)
    yield from _pair(f"{name}.conv2", b, b)
    if a != b:
        yield from _point(f"{name}.nin_shortcut", a, b)


def _middle(name: str, a: int) -> Shapes:
    yield from _block(f"{name}.block_1", a, a)
    for number in range(2):
        attention = f"{name}.attn_1.{number}"
        yield from _norm(f"{attention}.norm", a)
        for part in ("q", "k", "v", "proj_out"):
            yield from _point(f"{attention}.{part}", a, a)
    yield from _block(f"{name}.block_2", a, a)


def encoder_shapes(base: int) -> Shapes:
    """Names and shapes of `encoder.jit`'s parameters."""
    widths = (base, 2 * base, 4 * base, 4 * base)
    yield from _pair("encoder.conv_in", 192, base)
    for level in range(3):
        yield from _block(f"encoder.down.{level}.block.0", widths[level], widths[level + 1])
        yield from _block(f"encoder.down.{level}.block.1", widths[level + 1], widths[level + 1])
    yield from _spatial("encoder.down.0.downsample.conv1", widths[1], widths[1])
    yield from _temporal("encoder.down.0.downsample.conv2", widths[1])
    yield from _point("encoder.down.0.downsample.conv3", widths[1], widths[1])
    yield from _middle("encoder.mid", widths[3])
    yield from _norm("encoder.norm_out", widths[3])
    yield from _pair("encoder.conv_out", widths[3], 16)
    yield from _point("quant_conv", 16, 16)


def decoder_shapes(base: int) -> Shapes:
    """Names and shapes of `decoder.jit`'s parameters."""
    wide = 4 * base
    yield from _point("post_quant_conv", 16, 16)
    yield from _pair("decoder.conv_in", 16, wide)
    yield from _middle("decoder.mid", wide)
    for level, (a, b) in {2: (wide, wide), 1: (wide, wide), 0: (wide, 2 * base)}.items():
        for number in range(3):
            yield from _block(f"decoder.up.{level}.block.{number}", b if number else a, b)
    yield from _temporal("decoder.up.1.upsample.conv1", wide)
    yield from _spatial("decoder.up.1.upsample.conv2", wide, wide)
    yield from _point("decoder.up.1.upsample.conv3", wide, wide)
    yield from _norm("decoder.norm_out", 2 * base)
    yield from _pair("decoder.conv_out", 2 * base, 192)


def tokenizer_states(
    size: TokenizerSize, numbers: RandomTensors
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of encoder and decoder in bfloat16."""
    encoder = {name: _values(name, shape, numbers) for name, shape in encoder_shapes(size.base)}
    decoder = {name: _values(name, shape, numbers) for name, shape in decoder_shapes(size.base)}
    both = [*encoder.values(), *decoder.values()]
    wavelets, places = torch.tensor([2**-0.5, 2**-0.5]), torch.arange(2)
    for name, value in (("wavelets", wavelets), ("_arange", places)):
        encoder[f"encoder.patcher3d.{name}"] = value
        decoder[f"decoder.unpatcher3d.{name}"] = value
    encoder["encoder.patcher3d.patch_size_buffer"] = torch.tensor([4], dtype=torch.int32)
    assert len(encoder) + len(decoder) == ENTRIES, (len(encoder), len(decoder))
    if size.base == BASE:
        assert sum(part.numel() for part in both) == PARAMETERS, "parameters of the tokenizer"
    return encoder, decoder


def _values(name: str, shape: tuple[int, ...], numbers: RandomTensors) -> Tensor:
    """Weights that keep activations O(1), norms near 1, biases near 0."""
    kind = torch.bfloat16
    if len(shape) == 1:
        return numbers.normal(shape, 0.02, 1.0 if name.endswith("norm.weight") else 0.0, kind)
    fan = shape[1] * shape[2] * shape[3] * shape[4]
    # What blocks add to their input stays small, and so do the pictures.
    gain = 0.2 if ".conv2." in name or ".proj_out." in name else 1.0
    gain = 0.3 if name.startswith("decoder.conv_out.1") else gain
    return numbers.normal(shape, gain * fan**-0.5, dtype=kind)


class _Echo(nn.Module):
    """Children and parameters by name; TorchScript wants a forward pass."""

    def forward(self, value: Tensor) -> Tensor:
        return value


def _module(state: Mapping[str, Tensor]) -> nn.Module:
    """A tree of modules whose `state_dict` is `state`."""
    root = _Echo()
    for name, value in state.items():
        *folders, last = name.split(".")
        place: nn.Module = root
        for folder in folders:
            if folder not in dict(place.named_children()):
                place.add_module(folder, _Echo())
            place = place.get_submodule(folder)
        if last in ("weight", "bias"):
            place.register_parameter(last, nn.Parameter(value, requires_grad=False))
        else:
            place.register_buffer(last, value)
    return root


def write_tokenizer(folder: Path, size: TokenizerSize, numbers: RandomTensors) -> None:
    """Write the files of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder, decoder = tokenizer_states(size, numbers)
    for name, state in (("encoder", encoder), ("decoder", decoder), ("", encoder | decoder)):
        torch.jit.save(torch.jit.script(_module(state)), folder / f"{name or 'autoencoder'}.jit")
    training = {
        "model": {f"network.{name}": part for name, part in (encoder | decoder).items()},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]},
        "scheduler": {"last_epoch": 1},
        "grad_scaler": {},
        "iteration": 1,
    }
    torch.save(training, folder / "model.pt")
    mean = numbers.normal((256,), 0.1, dtype=torch.bfloat16)
    std = numbers.normal((256,), 0.05, 1.0, torch.bfloat16)
    torch.save((mean, std), folder / "mean_std.pt")
    torch.save((mean[:16], std[:16]), folder / "image_mean_std.pt")
    (folder / "config.json").write_text(FOREIGN_CONFIG)
    (folder / "README.md").write_text("# Cosmos Tokenizer (a stand-in)\n")
