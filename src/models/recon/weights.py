"""Reads and writes the decoder's weights: published checkpoints, and our safetensors + config."""

from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors.torch import save_file

from ...checkpoints.opening import read_tensors
from ...io.atomic import atomic_path
from ...io.json_object import read_json_object, write_json
from ...io.state_dict import check_tensors, read_safetensors
from ...runtime import InputError, without_memory
from .decoder import DecoderConfig, LatentRecon

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
# Settings of a run, not of the weights.
NOT_STORED = {"backend", "checkpointing"}
# A tensor of every decoder, from which the prefix of names is found.
MARKER = "enc_norm.weight"


def load_decoder(
    path: Path | str, config: DecoderConfig | None = None, device: torch.device | str = "cpu"
) -> LatentRecon:
    """Loads the decoder in evaluation mode, in float32.

    Args:
        path: A torch checkpoint (DeepSpeed's `{"module": ...}` or a plain state dict), or our
            safetensors file, or its folder.
        config: By default the one stored beside a safetensors file, or the published one.
        device: The device of the weights.

    Raises:
        InputError: no such file, an unreadable one, or tensors that are missing, unexpected or of
            another shape, by name.
    """
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(path, "no such file", "a checkpoint of the decoder")
    if path.suffix == ".safetensors":
        state = read_safetensors(path)
        config = config or read_config(path.with_name(CONFIG_NAME))
    else:
        state = read_tensors(path, MARKER)
        config = config or DecoderConfig()
    with without_memory():
        model = LatentRecon(config)
    check_tensors(path, state, model.state_dict(), "the configured decoder")
    state = {name: tensor.to(device, torch.float32) for name, tensor in state.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_decoder(model: LatentRecon, folder: Path | str) -> None:
    """Writes the weights and the configuration into `folder`, each file atomically."""
    folder = Path(folder)
    state = {name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}
    stored = {name: value for name, value in asdict(model.config).items() if name not in NOT_STORED}
    write_json(folder / CONFIG_NAME, stored, indent=2)
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        save_file(state, temporary)


def read_config(path: Path) -> DecoderConfig:
    """Reads the configuration beside our weights; `InputError` for unknown keys or wrong values."""
    if not path.is_file():
        raise InputError(path, "no such file", "the configuration beside the weights")
    values = read_json_object(path)
    known = {field.name: type(field.default) for field in fields(DecoderConfig)}
    for name, value in values.items():
        if name not in known:
            raise InputError(path, f"unknown key {name!r}", f"keys among {sorted(known)}")
        number = known[name] is float and type(value) is int
        if type(value) is not known[name] and not number:
            raise InputError(path, f"{name} = {value!r}", f"a value of {known[name].__name__}")
    try:
        return DecoderConfig(**values)
    except InputError as error:
        raise InputError(path, f"{error.source} = {error.value}", error.expected) from error
