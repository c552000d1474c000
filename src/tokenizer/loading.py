"""Reads a tokenizer folder: the published `.jit` files or `model.pt`, a diffusers folder, or ours.

Ours is `config.json` of diffusers beside `encoder.safetensors` and `decoder.safetensors`. Published
folders hold `mean_std.pt`; the others keep the statistics in `config.json`, channel-major.
`src.checkpoints.PLACES` lists the files of a folder that are read.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import file_sets, layout
from ..checkpoints.opening import open_weights, plain_names
from ..io.atomic import atomic_path
from ..io.json_object import write_json
from ..io.state_dict import check_tensors, read_safetensors
from ..runtime import InputError, listed
from .config import CLASS_NAME, CONFIG_NAME, check_architecture, read_config
from .cosmos import VideoTokenizer
from .keys import native_architecture, to_diffusers_names
from .statistics import (
    STATISTICS_NAME,
    LatentStatistics,
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


def load_tokenizer(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> VideoTokenizer:
    """The tokenizer of `folder`, in evaluation mode and without gradients.

    Raises:
        InputError: no known file, an unreadable one, or tensors of another network (each named).
    """
    files = layout("tokenizer", folder)
    if files is None:
        sets = " or ".join(" + ".join(names) for names in file_sets("tokenizer"))
        raise InputError(folder, "no weights", sets)
    described = CONFIG_NAME in files
    read, source = (_read_described, folder / CONFIG_NAME) if described else (_read_native, folder)
    architecture, statistics, state = read(folder, files)
    try:
        # Not on the meta device: the wavelets are buffers that no checkpoint holds.
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

    Raises:
        InputError: neither `mean_std.pt` nor a `config.json` with statistics, unreadable ones.
    """
    files = layout("tokenizer", folder)
    published = (folder / STATISTICS_NAME).is_file() if files is None else CONFIG_NAME not in files
    if published or not (folder / CONFIG_NAME).is_file():
        return read_mean_std(folder / STATISTICS_NAME)
    path = folder / CONFIG_NAME
    return statistics_from_config(path, read_config(path))


def read_native_tensors(folder: Path, files: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of published files under their native names.

    Raises:
        InputError: an unreadable file, or one without the half of the network that it is named for.
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
