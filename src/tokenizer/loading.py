"""Reads a tokenizer folder: the published `.jit` files or `model.pt`, a diffusers folder, or ours.

Ours is `config.json` of diffusers beside `encoder.safetensors` and `decoder.safetensors`. Published
folders hold `mean_std.pt`; the others keep the statistics in `config.json`, channel-major.
`src.checkpoints.PLACES` lists the files of a folder that are read.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import file_sets, layout
from ..checkpoints.opening import open_weights, plain_names
from ..io.atomic import atomic_path
from ..io.damage import check_tensors, read_safetensors
from ..io.json_object import is_count, is_number, read_json_object, write_json
from ..runtime import InputError, listed
from .architecture import Architecture
from .cosmos import (
    STATISTICS,
    STATISTICS_NAME,
    LatentStatistics,
    VideoTokenizer,
    read_mean_std,
    statistics_from_config,
)

# A tensor of each half, whose name shows the prefix of all names.
MARKERS = {
    "encoder": "encoder.conv_in.0.conv3d.weight",
    "decoder": "decoder.conv_in.0.conv3d.weight",
}
# Architecture, statistics and tensors by diffusers' names.
Contents = tuple[Mapping[str, object], LatentStatistics, dict[str, Tensor]]
# Substrings of native names (of `model.pt` and the `.jit` files) and diffusers', in this order.
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
# Haar wavelet constants and patch sizes: the network computes them.
DROPPED = re.compile(r"(patcher3d|unpatcher3d)\.")
CONFIG_NAME = "config.json"
CLASS_NAME = "AutoencoderKLCosmos"
# The largest size or factor accepted; real ones are far smaller.
MOST = 65536


def load_tokenizer(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> VideoTokenizer:
    """The tokenizer of `folder`, in evaluation mode and without gradients.

    Raises `InputError` for no known file, an unreadable one, or tensors of another network (each
    named).
    """
    files = layout("tokenizer", folder)
    if files is None:
        sets = " or ".join(" + ".join(names) for names in file_sets("tokenizer"))
        raise InputError(folder, "no weights", sets)
    described = CONFIG_NAME in files
    read, source = (_read_described, folder / CONFIG_NAME) if described else (_read_native, folder)
    architecture, statistics, state = read(folder, files)
    try:
        # Without memory: the weights are those of the files.
        with torch.device("meta"):
            tokenizer = VideoTokenizer(architecture, statistics.mean, statistics.std)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(source, error, "a video tokenizer that can be built") from error
    check_tensors(folder, state, tokenizer.autoencoder.state_dict(), "this architecture")
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    tokenizer.autoencoder.load_state_dict(state, assign=True)
    return tokenizer.requires_grad_(False).eval().to(device)


def save_tokenizer(tokenizer: VideoTokenizer, folder: Path) -> None:
    """Write `tokenizer` in our layout, encoder and decoder apart, statistics in the config."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {**tokenizer.architecture, "_class_name": CLASS_NAME}
    config["latents_mean"] = tokenizer.mean.flatten().tolist()
    config["latents_std"] = tokenizer.std.flatten().tolist()
    state = tokenizer.autoencoder.state_dict()
    encoder = {name for name in state if name.startswith(("encoder.", "quant_conv."))}
    for file, names in (("encoder", encoder), ("decoder", state.keys() - encoder)):
        tensors = {name: state[name].cpu().contiguous() for name in sorted(names)}
        with atomic_path(folder / f"{file}.safetensors") as temporary:
            save_file(tensors, temporary)
    write_json(folder / CONFIG_NAME, config)


def load_statistics(folder: Path) -> LatentStatistics:
    """The latent statistics of a tokenizer folder, without its weights.

    Raises `InputError` if neither `mean_std.pt` nor a `config.json` has readable statistics.
    """
    files = layout("tokenizer", folder)
    published = (folder / STATISTICS_NAME).is_file() if files is None else CONFIG_NAME not in files
    if published or not (folder / CONFIG_NAME).is_file():
        return read_mean_std(folder / STATISTICS_NAME)
    path = folder / CONFIG_NAME
    return statistics_from_config(path, read_config(path))


def read_native_tensors(folder: Path, files: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of published files under their native names.

    Raises `InputError` for an unreadable file, or one without the half of the network that it is
    named for.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        if file == STATISTICS_NAME:
            continue
        path = folder / file
        weights = open_weights(path)
        halves = [half for half in MARKERS if path.stem == half] or list(MARKERS)
        names = plain_names(weights.tensors, MARKERS[halves[0]])
        for half in halves:
            if MARKERS[half] not in names.values():
                found = f"no tensor {MARKERS[half]!r} among {listed(list(weights.tensors))}"
                raise InputError(path, found, f"the {half} of a video tokenizer")
        state |= weights.read(names)
    return state


def _read_described(folder: Path, files: tuple[str, ...]) -> Contents:
    """The contents of a folder with a `config.json`."""
    path = folder / CONFIG_NAME
    config = read_config(path)
    state: dict[str, Tensor] = {}
    for file in files:
        if file != CONFIG_NAME:
            state |= read_safetensors(folder / file)
    check_architecture(path, config, state)
    return config, statistics_from_config(path, config), state


def _read_native(folder: Path, files: tuple[str, ...]) -> Contents:
    """The contents of published files, whose tensors' shapes describe the network."""
    native = read_native_tensors(folder, files)
    try:
        architecture = native_architecture(native)
    except KeyError as error:
        raise InputError(folder, f"no tensor {error}", "native tokenizer weights") from error
    channels = int(str(architecture["latent_channels"]))
    statistics = read_mean_std(folder / STATISTICS_NAME, channels)
    return architecture, statistics, to_diffusers_names(native)


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
    """The fields of `Architecture` that fit native weights; `KeyError` if a tensor is missing."""
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


def read_config(path: Path) -> dict[str, Any]:
    """The configuration in a file; `InputError` unless it is one of diffusers' class."""
    config = read_json_object(path)
    if config.get("_class_name") != CLASS_NAME:
        raise InputError(path, f"_class_name = {config.get('_class_name')!r}", repr(CLASS_NAME))
    return config


def check_architecture(path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Raises `InputError` for unknown keys, wrong types, a network larger than its tensors."""
    known = {part.name: part.default for part in fields(Architecture)}
    widest = max((max(tensor.shape, default=0) for tensor in state.values()), default=0)
    for name, value in config.items():
        if name.startswith("_") or name in STATISTICS:
            continue
        if name not in known:
            raise InputError(path, f"unknown key {name!r}", f"keys among {sorted(known)}")
        if not _alike(value, known[name]):
            raise InputError(path, f"{name} = {value!r}"[:200], f"a value like {known[name]!r}")
        # A small file must not describe a network that fills the memory.
        limit = len(state) if name == "num_layers" else widest
        if "channels" in name or name == "num_layers":
            for number in value if isinstance(value, list) else [value]:
                if number > limit:
                    expected = f"at most {limit}, by the tensors beside it"
                    raise InputError(path, f"{name} = {value!r}"[:200], expected)


def _alike(value: object, default: object) -> bool:
    """Whether `value` has the type of `default`, integers positive, a list in a tuple's place."""
    if isinstance(default, tuple):
        return isinstance(value, list) and bool(value) and all(_alike(v, 1) for v in value)
    if isinstance(default, float):
        return is_number(value)
    if isinstance(default, int):
        return is_count(value, MOST) and value != 0
    return type(value) is type(default)
