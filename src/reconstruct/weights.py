"""The weights of a run: the decoder's checkpoint, the tokenizer, and their types."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..checkpoints import AVERAGE, find_named
from ..checkpoints.opening import open_weights
from ..checkpoints.steps import PUBLISHED, newest_sound
from ..models.recon.decoder import (
    CONFIG_NAME,
    NOT_STORED,
    WEIGHTS_NAME,
    DecoderConfig,
    load_decoder,
    read_config,
)
from ..models.recon.scene_decoder import SceneDecoder, TypeName, cast_trunk, floating_type
from ..runtime import InputError, get_logger
from ..tokenizer.loading import load_tokenizer

LOGGER = get_logger(__name__)
# Files of the weights in a checkpoint folder: ours, then the published one.
IN_CHECKPOINT = (WEIGHTS_NAME, PUBLISHED)


@dataclass(kw_only=True)
class WeightsConfig:
    """The places of the weights, and the types that they are used in.

    Without `path` the decoder is the checkpoint `name` (default: the newest sound one) of the
    training run in `output_dir`. With `average` the moving average replaces the weights if the
    checkpoint has one. `chosen` are settings of the decoder that may differ from those stored
    beside the weights. `auto` types are bfloat16 on CUDA and float32 elsewhere.
    """

    path: str | None = None
    name: str | None = None
    average: bool = True
    chosen: tuple[str, ...] = ()
    output_dir: str = "outputs/training/cosmos3dgs"
    tokenizer: str = "checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"
    trunk_type: TypeName = "auto"
    tokenizer_type: TypeName = "auto"


def find_decoder(config: WeightsConfig) -> Path:
    """Returns the file, or our folder, with the decoder's weights; `InputError` without any."""
    if config.path is not None:
        path = Path(config.path)
        if not path.exists():
            raise InputError(path, "no such file", "a checkpoint of the decoder (ckpt_path)")
        average = path / AVERAGE
        return average if config.average and average.is_file() else path
    output_dir = Path(config.output_dir)
    if config.name is not None:
        return _weights_in(output_dir / config.name, config.average)
    newest = newest_sound(
        output_dir, lambda folder: open_weights(_weights_in(folder, config.average))
    )
    if newest is None:
        expected = "a checkpoint-N folder of a training run, or ckpt_path=FILE"
        raise InputError(output_dir, "no checkpoint", expected)
    return _weights_in(newest, config.average)


def find_tokenizer(config: WeightsConfig) -> Path:
    """Returns the tokenizer's folder; `InputError` if there is none."""
    return find_named("tokenizer", config.tokenizer, "vae_path")


def load_scene_decoder(
    weights: WeightsConfig, decoder: DecoderConfig, device: torch.device
) -> SceneDecoder:
    """Loads the decoder and the tokenizer on `device`, frozen and in their types.

    Raises:
        InputError: weights that are missing or don't fit, settings other than the stored ones, a
            tokenizer type that the CPU does not support.
    """
    dtype = floating_type(weights.tokenizer_type, device)
    if device.type == "cpu" and dtype != torch.float32:
        raise InputError("tokenizer_type", weights.tokenizer_type, "float32 on the CPU")
    path = find_decoder(weights)
    kind = "the moving average of the weights" if path.name == AVERAGE else "the weights"
    LOGGER.info("decoder: %s, %s", path, kind)
    check_configuration(path, decoder, weights.chosen)
    model = load_decoder(path, decoder, device=device).requires_grad_(False)
    cast_trunk(model, floating_type(weights.trunk_type, device))
    return SceneDecoder(model, load_tokenizer(find_tokenizer(weights), device, dtype))


def check_configuration(path: Path, decoder: DecoderConfig, chosen: Collection[str] = ()) -> None:
    """Raises for weights whose stored settings differ from the configured ones.

    Most weights load with other settings as well, and give another scene unnoticed.

    Raises:
        InputError: a setting, other than the `chosen` ones, that differs from the stored one.
    """
    stored_at = path / CONFIG_NAME if path.is_dir() else path.with_name(CONFIG_NAME)
    if not (path.is_dir() or path.suffix == ".safetensors") or not stored_at.is_file():
        return
    stored, given = asdict(read_config(stored_at)), asdict(decoder)
    for name in sorted(stored.keys() - NOT_STORED - set(chosen)):
        if stored[name] != given[name]:
            found = f"decoder.{name} = {stored[name]!r}"
            expected = (
                f"{given[name]!r}, as configured (config_path); model.decoder.{name}={given[name]} "
                "insists on it"
            )
            raise InputError(stored_at, found, expected)


def _weights_in(folder: Path, average: bool) -> Path:
    """Returns the file of the decoder in a checkpoint folder."""
    for name in (AVERAGE, *IN_CHECKPOINT) if average else IN_CHECKPOINT:
        if (folder / name).is_file():
            return folder / name
    raise InputError(folder, "no weights", f"one of {', '.join(map(str, IN_CHECKPOINT))}")
