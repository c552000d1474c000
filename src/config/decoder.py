"""The configuration of the decoder's training, as files and arguments give it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..training.decoder.config import DecoderTrainConfig
from .loading import Layer, find_path, load_config
from .published import TRAINING


def load_decoder_train_config(layers: Sequence[Layer]) -> DecoderTrainConfig:
    """The training configuration of the decoder; see `load_config`.

    Weights that are not where the working directory has them are those of the repository.
    """
    config = load_config(DecoderTrainConfig, layers, TRAINING)
    return replace(
        config, tokenizer=_found(config.tokenizer), checkpoint_dir=_found(config.checkpoint_dir)
    )


def _found(name: str) -> str:
    """The path as it was written where it leads somewhere, or nowhere from the repository."""
    found = find_path(name)
    return name if found == Path(name).expanduser() else str(found)
