"""Low-rank adapters beside frozen weights (Hu et al. 2021), through peft.

An adapted layer keeps its weight W as `base_layer` and computes with `W + alpha / rank B A`. The
state of such a network has peft's names of the parameters.
"""

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from src.io.atomic import atomic_path
from src.io.damage import read_safetensors
from src.io.json_object import read_json_object, write_json
from src.runtime import InputError

from ..diffusion.model.network import Gen3CTransformer
from .config import LoraConfig

NAME = "default"
BASE, DOWN, UP = ".base_layer.weight", f".lora_A.{NAME}.weight", f".lora_B.{NAME}.weight"
# The file names and the prefix of peft, so that other programs can read the adapters.
WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."

State = Mapping[str, Tensor]


def add_adapters(network: Gen3CTransformer, config: LoraConfig, name: str = NAME) -> None:
    """Freeze `network` and add a set of adapters, which change nothing at first, in place.

    Raises:
        InputError: no layer's name ends with one of `config.targets`.
    """
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    network.requires_grad_(False)
    layers = [
        place for place, _ in network.named_modules() if place.endswith(tuple(config.targets))
    ]
    if not layers:
        raise InputError("lora.targets", config.targets, "ends of names of layers")
    peft = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=layers, use_rslora=False
    )
    with warnings.catch_warnings():
        # A second set of adapters is on purpose.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        inject_adapter_in_model(peft, network, name)
    for place, parameter in network.named_parameters():
        if place.endswith(tuple(end.replace(NAME, name) for end in (DOWN, UP))):
            # Float32 sums updates that are too small for bfloat16, and takes little memory here.
            parameter.data = parameter.data.float()


def adapted_state(plain: State, adapters: State) -> dict[str, Tensor]:
    """Returns the state of an adapted network from plain weights and adapters."""
    layers = {name.removesuffix(DOWN) for name in adapters if name.endswith(DOWN)}
    renamed = {}
    for name, tensor in plain.items():
        layer = name.removesuffix(".weight")
        renamed[layer + BASE if layer in layers else name] = tensor
    return renamed | dict(adapters)


def adapters_of(state: State) -> dict[str, Tensor]:
    """Returns the adapters of a state."""
    return {name: part for name, part in state.items() if name.endswith((DOWN, UP))}


def merged(state: State, config: LoraConfig) -> dict[str, Tensor]:
    """Returns plain weights, each in its own type, that include the adapters' change."""
    plain = {}
    for name, tensor in state.items():
        if name.endswith((DOWN, UP)):
            continue
        layer = name.removesuffix(BASE)
        if layer == name:
            plain[name] = tensor
            continue
        change = state[layer + UP].float() @ state[layer + DOWN].float()
        total = tensor.float() + config.alpha / config.rank * change
        plain[f"{layer}.weight"] = total.to(tensor.dtype)
    return plain


def write_adapters(folder: Path, state: State, config: LoraConfig) -> None:
    """Write the adapters of a network's state and their configuration in peft's format."""
    tensors = {
        PREFIX + name.replace(f".{NAME}.", "."): part.contiguous()
        for name, part in adapters_of(state).items()
    }
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    described = {"peft_type": "LORA", "r": config.rank, "lora_alpha": config.alpha}
    described |= {"target_modules": [*config.targets], "bias": "none"}
    write_json(folder / CONFIG_FILE, described)


def has_adapters(folder: Path) -> bool:
    """Whether `write_adapters` wrote to the folder."""
    return (folder / WEIGHTS_FILE).is_file()


def read_adapters(folder: Path, config: LoraConfig) -> dict[str, Tensor]:
    """Reads the adapters of `write_adapters`, under the names of the network's parameters.

    Raises:
        InputError: unreadable files, or adapters of another rank or scale.
    """
    described: dict[str, Any] = read_json_object(folder / CONFIG_FILE)
    found = (described.get("r"), described.get("lora_alpha"))
    if found != (config.rank, config.alpha):
        expected = f"lora.rank and lora.alpha of this run: {asdict(config)}"
        raise InputError(folder / CONFIG_FILE, f"rank and alpha {found}", expected)
    ours = {}
    for name, part in read_safetensors(folder / WEIGHTS_FILE).items():
        layer, kind, end = name.removeprefix(PREFIX).rsplit(".", 2)
        ours[f"{layer}.{kind}.{NAME}.{end}"] = part.to(torch.float32)
    return ours
