"""Reads a tokenizer folder: `model.pt`, the two `.jit` files, a diffusers folder, or our own.

Ours is `config.json` of diffusers beside `encoder.safetensors` and `decoder.safetensors`. Published
folders hold `mean_std.pt`; the others keep the statistics in `config.json`, channel-major.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from jaxtyping import Float
from torch import Tensor

from ..io.atomic import atomic_path
from ..io.json_object import read_json_object
from ..io.state_dict import check_tensors, read_safetensors
from ..runtime import InputError
from .cosmos import VideoTokenizer
from .keys import native_architecture, to_diffusers_names
from .statistics import LatentStatistics

SAFETENSORS = (
    ("diffusion_pytorch_model.safetensors",),
    ("encoder.safetensors", "decoder.safetensors"),
)
CLASS_NAME = "AutoencoderKLCosmos"


def load_tokenizer(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> VideoTokenizer:
    """The tokenizer of `folder`, in evaluation mode and without gradients.

    Raises:
        InputError: the folder holds no known file, a file is unreadable, or tensors are missing,
            left over or of another shape (each named).
    """
    config = _diffusers_config(folder)
    if config is not None:
        state = _read_safetensors(folder)
        architecture: Mapping[str, object] = config
        mean, std = statistics_from_config(folder / "config.json", config)
    else:
        native = _read_native(folder)
        try:
            architecture = native_architecture(native)
        except KeyError as error:
            raise InputError(folder, f"no tensor {error}", "native tokenizer weights") from error
        state = to_diffusers_names(native)
        mean, std = read_mean_std(folder / "mean_std.pt", int(str(architecture["latent_channels"])))
    # Not on the meta device: the wavelets are buffers that no checkpoint holds.
    tokenizer = VideoTokenizer(architecture, mean, std)
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
    with atomic_path(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n")


def load_statistics(folder: Path) -> LatentStatistics:
    """The latent statistics of a tokenizer folder, without its weights.

    Raises:
        InputError: neither `mean_std.pt` nor a `config.json` with statistics, unreadable ones.
    """
    config = _diffusers_config(folder)
    if config is not None:
        return LatentStatistics(*statistics_from_config(folder / "config.json", config))
    return LatentStatistics(*read_mean_std(folder / "mean_std.pt"))


def read_mean_std(path: Path, channels: int = 16) -> tuple[Tensor, Tensor]:
    """Latent mean and standard deviation `[channel, latent_frame]` of a published `mean_std.pt`."""
    if not path.is_file():
        raise InputError(path, "no such file", "latent statistics (mean, std)")
    try:
        mean, std = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, TypeError, EOFError) as error:
        raise InputError(path, error, "two tensors (mean, std)") from error
    return _check_statistics(path, mean.float(), std.float(), channels)


def statistics_from_config(path: Path, config: Mapping[str, object]) -> tuple[Tensor, Tensor]:
    """Latent mean and standard deviation of a diffusers config (`latents_mean`, `latents_std`)."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if not isinstance(mean, list) or not isinstance(std, list):
        raise InputError(path, "no latents_mean and latents_std", "two lists of numbers")
    channels = int(str(config.get("latent_channels", 16)))
    return _check_statistics(path, torch.tensor(mean), torch.tensor(std), channels)


def _check_statistics(
    path: Path, mean: Float[Tensor, "..."], std: Float[Tensor, "..."], channels: int
) -> tuple[Tensor, Tensor]:
    if mean.numel() != std.numel() or mean.numel() % channels or not mean.numel():
        value = f"{mean.numel()} means and {std.numel()} deviations"
        raise InputError(path, value, f"equally many, a multiple of {channels} channels")
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise InputError(path, "statistics that are not finite and positive", "std > 0")
    return mean.reshape(channels, -1), std.reshape(channels, -1)


def _diffusers_config(folder: Path) -> dict[str, object] | None:
    """The diffusers config of `folder`; None where there is none (published folders)."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    config = read_json_object(path)
    return config if config.get("_class_name") == CLASS_NAME else None


def _read_safetensors(folder: Path) -> dict[str, Tensor]:
    for names in SAFETENSORS:
        paths = [folder / name for name in names]
        if all(path.is_file() for path in paths):
            state: dict[str, Tensor] = {}
            for path in paths:
                state |= read_safetensors(path)
            return state
    expected = " or ".join(" and ".join(names) for names in SAFETENSORS)
    raise InputError(folder, "no weights", expected)


def _read_native(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.pt").is_file():
        path = folder / "model.pt"
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
        except (UnpicklingError, RuntimeError, ValueError, EOFError) as error:
            # A published model.pt may be a TorchScript archive, which holds the same names.
            if "TorchScript" not in str(error):
                raise InputError(path, error, "a state dict of tensors") from error
            return _read_jit(path)
    jits = [folder / "encoder.jit", folder / "decoder.jit"]
    if all(path.is_file() for path in jits):
        return _read_jit(jits[0]) | _read_jit(jits[1])
    raise InputError(folder, "no weights", "model.pt, encoder.jit and decoder.jit, or config.json")


def _read_jit(path: Path) -> dict[str, Tensor]:
    try:
        return dict(torch.jit.load(path, map_location="cpu").state_dict())
    except RuntimeError as error:
        raise InputError(path, error, "a TorchScript archive") from error
