"""The configuration of the decoder's training, as files and arguments give it."""

from collections.abc import Sequence

from ..training.decoder_config import DecoderTrainConfig
from .loading import Layer, load_config
from .published import TRAINING


def load_decoder_train_config(layers: Sequence[Layer]) -> DecoderTrainConfig:
    """The training configuration of the decoder; see `load_config`."""
    return load_config(DecoderTrainConfig, layers, TRAINING)
