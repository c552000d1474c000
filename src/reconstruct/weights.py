"""Which weights a run uses: the checkpoint of the decoder, the tokenizer, and their types."""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..checkpoints import AVERAGE, TOKENIZER
from ..checkpoints import find_checkpoint as find_weights
from ..models.recon.decoder import DecoderConfig
from ..models.recon.scene_decoder import SceneDecoder, TypeName, cast_trunk, floating_type
from ..models.recon.weights import (
    CONFIG_NAME,
    NOT_STORED,
    WEIGHTS_NAME,
    load_decoder,
    read_config,
)
from ..runtime import InputError, get_logger
from ..tokenizer.loading import load_tokenizer

LOGGER = get_logger(__name__)
# Where the weights lie in a checkpoint folder: ours, then the published one's.
IN_CHECKPOINT = (WEIGHTS_NAME, "pytorch_model/mp_rank_00_model_states.pt")
NUMBERED = re.compile(r"checkpoint-(\d+)")


@dataclass
class WeightsConfig:
    """Where the weights are, and the types that they are used in.

    Without `path` the decoder is the checkpoint `name` (default: the one of the highest number)
    of the training run whose output folder is `output_dir`. `auto` types are bfloat16 on CUDA and
    float32 elsewhere. With `average` the moving average takes the place of the weights where a
    checkpoint folder has one. `chosen` are the settings of the decoder that the user wants other
    than they are stored beside the weights.
    """

    path: str | None = None
    name: str | None = None
    average: bool = True
    chosen: tuple[str, ...] = ()
    output_dir: str = "outputs/training/cosmos3dgs"
    tokenizer: str = "checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"
    trunk_type: TypeName = "auto"
    tokenizer_type: TypeName = "auto"


def find_checkpoint(config: WeightsConfig) -> Path:
    """The file, or our folder, with the decoder's weights.

    Raises:
        InputError: it is not there.
    """
    if config.path is not None:
        path = Path(config.path)
        if not path.exists():
            raise InputError(path, "no such file", "a checkpoint of the decoder (ckpt_path)")
        average = path / AVERAGE
        return average if config.average and average.is_file() else path
    output_dir = Path(config.output_dir)
    folder = output_dir / config.name if config.name else _newest(output_dir)
    for name in (AVERAGE, *IN_CHECKPOINT) if config.average else IN_CHECKPOINT:
        if (folder / name).is_file():
            return folder / name
    raise InputError(folder, "no weights", f"one of {', '.join(IN_CHECKPOINT)}")


def find_tokenizer(config: WeightsConfig) -> Path:
    """The tokenizer's folder.

    The two published stages expect it in two folders of one name; either is taken for the other.

    Raises:
        InputError: it is not there.
    """
    folder = Path(config.tokenizer)
    elsewhere = folder.parents[1:2] if folder.name == TOKENIZER else []
    return find_weights("tokenizer", folder, *elsewhere)


def load_scene_decoder(
    weights: WeightsConfig, decoder: DecoderConfig, device: torch.device
) -> SceneDecoder:
    """The decoder and the tokenizer on `device`, frozen and in their types.

    Raises:
        InputError: weights that are not there or don't fit, a configuration that is not theirs, a
            type that the CPU can't encode in.
    """
    dtype = floating_type(weights.tokenizer_type, device)
    if device.type == "cpu" and dtype != torch.float32:
        raise InputError("tokenizer_type", weights.tokenizer_type, "float32 on the CPU")
    path = find_checkpoint(weights)
    kind = "the moving average of the weights" if path.name == AVERAGE else "the weights"
    LOGGER.info("decoder: %s, %s", path, kind)
    check_configuration(path, decoder, weights.chosen)
    model = load_decoder(path, decoder, device=device).requires_grad_(False)
    cast_trunk(model, floating_type(weights.trunk_type, device))
    return SceneDecoder(model, load_tokenizer(find_tokenizer(weights), device, dtype))


def check_configuration(path: Path, decoder: DecoderConfig, chosen: Collection[str] = ()) -> None:
    """Refuse weights at `path` that were trained with other settings, where these are stored.

    Most of them fit other settings as well and give another scene: it must not happen unnoticed.

    Raises:
        InputError: settings, but for the `chosen` ones, that are not those beside the weights.
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


def _newest(output_dir: Path) -> Path:
    """The checkpoint folder of the highest number."""
    found = [path for path in output_dir.glob("checkpoint-*") if NUMBERED.fullmatch(path.name)]
    if not found:
        expected = "a checkpoint-N folder of a training run, or ckpt_path=FILE"
        raise InputError(output_dir, "no checkpoint", expected)
    return max(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))
