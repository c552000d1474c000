"""Which weights a run uses: the checkpoint of the decoder, the tokenizer, and their types."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoints import AVERAGE, TOKENIZER
from ..checkpoints import find_checkpoint as find_weights
from ..models.recon.decoder import DecoderConfig
from ..models.recon.scene_decoder import SceneDecoder, TypeName, cast_trunk, floating_type
from ..models.recon.weights import WEIGHTS_NAME, load_decoder
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
    checkpoint folder has one.
    """

    path: str | None = None
    name: str | None = None
    average: bool = True
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
        InputError: weights that are not there or don't fit, a type that the CPU can't encode in.
    """
    dtype = floating_type(weights.tokenizer_type, device)
    if device.type == "cpu" and dtype != torch.float32:
        raise InputError("tokenizer_type", weights.tokenizer_type, "float32 on the CPU")
    path = find_checkpoint(weights)
    kind = "the moving average of the weights" if path.name == AVERAGE else "the weights"
    LOGGER.info("decoder: %s, %s", path, kind)
    model = load_decoder(path, decoder, device=device).requires_grad_(False)
    cast_trunk(model, floating_type(weights.trunk_type, device))
    return SceneDecoder(model, load_tokenizer(find_tokenizer(weights), device, dtype))


def _newest(output_dir: Path) -> Path:
    """The checkpoint folder of the highest number."""
    found = [path for path in output_dir.glob("checkpoint-*") if NUMBERED.fullmatch(path.name)]
    if not found:
        expected = "a checkpoint-N folder of a training run, or ckpt_path=FILE"
        raise InputError(output_dir, "no checkpoint", expected)
    return max(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))
