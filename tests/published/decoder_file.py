"""The two Lyra decoders as they are published: DeepSpeed's file of a model, objects and all.

Names and shapes are written from the specification (recon.md, 4.7). The network always has the
published width, since neither the file nor the commands could say another.
"""

import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import ModuleType

import torch
from published.random_tensors import RandomTensors
from torch import Tensor

ENTRIES, PARAMETERS = 254, 32_753_996
WIDTH, BLOCKS, ATTENTION, STATE, INNER, HEADS = 512, 16, (7, 15), 256, 1024, 16
FOREIGN = "deepspeed.runtime.config"
# Distance, colour, log scale, quaternion, opacity, before their activations: opaque Gaussians about
# 1.2 away.
DISTANCE, OPACITY = -4.47, 4.0
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str) -> Shapes:
    yield f"{name}.weight", (WIDTH,)
    yield f"{name}.bias", (WIDTH,)


def _mamba(name: str) -> Shapes:
    mixed = INNER + 2 * STATE
    yield f"{name}.norm.weight", (WIDTH,)
    yield f"{name}.mamba.in_proj.weight", (INNER + mixed + HEADS, WIDTH)
    for direction in range(2):
        scan = f"{name}.mamba.mamba_scans.{direction}"
        for part in ("dt_bias", "A_log", "D"):
            yield f"{scan}.{part}", (HEADS,)
        yield f"{scan}.conv1d.weight", (mixed, 1, 4)
        yield f"{scan}.conv1d.bias", (mixed,)
        yield f"{scan}.norm.weight", (INNER,)
    yield f"{name}.mamba.out_proj.weight", (WIDTH, INNER)


def _attention(name: str) -> Shapes:
    yield from _norm(f"{name}.norm1")
    yield from _linear(f"{name}.attn.qkv", WIDTH, 3 * WIDTH)
    yield from _linear(f"{name}.attn.proj", WIDTH, WIDTH)
    yield from _norm(f"{name}.norm2")
    yield from _linear(f"{name}.mlp.fc1", WIDTH, 4 * WIDTH)
    yield from _linear(f"{name}.mlp.fc2", 4 * WIDTH, WIDTH)


def decoder_shapes() -> Shapes:
    """Names and shapes of all tensors."""
    for index in range(BLOCKS):
        block = _attention if index in ATTENTION else _mamba
        yield from block(f"enc_blocks.{index}")
    yield from _norm("enc_norm")
    for name, channels in (("", 16), ("_plucker", 32)):
        yield from _patch(f"patch{name}_embed", channels)
    for name in ("", "_tgt"):
        yield from _patch(f"patch_time_embed{name}", 16)
    yield "deconv.weight", (WIDTH, 12, 9, 2, 2)
    yield "deconv.bias", (12,)


def _patch(name: str, channels: int) -> Shapes:
    yield f"{name}.proj.weight", (WIDTH, channels, 1, 2, 2)
    yield f"{name}.proj.bias", (WIDTH,)
    yield from _norm(f"{name}.norm")


def decoder_state(numbers: RandomTensors, log_scale: float) -> "OrderedDict[str, Tensor]":
    """Random weights in bfloat16 whose Gaussians can be seen; `log_scale` is their raw size."""
    state = OrderedDict((n, _values(n, s, numbers)) for n, s in decoder_shapes())
    state["deconv.bias"] = torch.tensor(
        [DISTANCE, 0, 0, 0, *[log_scale] * 3, 2, 0, 0, 0, OPACITY], dtype=torch.bfloat16
    )
    assert len(state) == ENTRIES, len(state)
    assert sum(part.numel() for part in state.values()) == PARAMETERS, "parameters of the decoder"
    return state


def _values(name: str, shape: tuple[int, ...], numbers: RandomTensors) -> Tensor:
    kind = torch.bfloat16
    if name.endswith("A_log"):
        return torch.linspace(1, 16, HEADS).log().to(kind)
    if name.endswith("dt_bias"):
        step = torch.logspace(-3, -1, HEADS)
        return (step + torch.log(-torch.expm1(-step))).to(kind)
    if name.endswith(".D"):
        return torch.ones(shape, dtype=kind)
    if len(shape) == 1:
        return numbers.normal(shape, 0.02, 1.0 if "norm" in name and "weight" in name else 0, kind)
    # Every channel of a Gaussian sums over all features of one token.
    fan = shape[0] if name.startswith("deconv") else prod(shape[1:])
    gain = 0.5 if name.startswith("deconv") else 1.0
    return numbers.normal(shape, gain * fan**-0.5, dtype=kind)


@contextmanager
def _foreign_class() -> Iterator[type]:
    """A class that pickles under the framework's name and cannot be imported where it is read."""
    names = [".".join(FOREIGN.split(".")[: end + 1]) for end in range(FOREIGN.count(".") + 1)]
    absent = [name for name in names if name not in sys.modules]
    module = ModuleType(FOREIGN)
    kind = type("DeepSpeedConfig", (), {"__module__": FOREIGN})
    module.DeepSpeedConfig = kind  # type: ignore[attr-defined]
    before = sys.modules.get(FOREIGN)
    sys.modules.update({name: ModuleType(name) for name in absent} | {FOREIGN: module})
    try:
        yield kind
    finally:
        for name in absent:
            del sys.modules[name]
        if before is not None:
            sys.modules[FOREIGN] = before


def write_decoder(path: Path, numbers: RandomTensors, log_scale: float) -> None:
    """Write one checkpoint as DeepSpeed does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = decoder_state(numbers, log_scale)
    with _foreign_class() as kind:
        config = kind()
        config.zero_enabled = True
        content = {
            "module": state,
            "buffer_names": [],
            "optimizer": None,
            "param_shapes": [OrderedDict((name, part.shape) for name, part in state.items())],
            "frozen_param_shapes": None,
            "shared_params": {},
            "lr_scheduler": {"last_epoch": 83000, "_last_lr": [1e-4]},
            "sparse_tensor_module_names": set(),
            "skipped_steps": 0,
            "global_steps": 83000,
            "ds_config": config,
            "ds_version": "0.17.5",
        }
        torch.save(content, path)
