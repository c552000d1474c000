"""The configuration of the tokenizer's training, as files and arguments give it."""

from collections.abc import Sequence

from ..training.tokenizer.config import TokenizerTrainConfig
from .loading import Layer, load_config
from .translation import KeyTable

# No training of the tokenizer was published: all keys are our own.
OWN = KeyTable({})


def load_tokenizer_train_config(layers: Sequence[Layer]) -> TokenizerTrainConfig:
    """The training configuration of the tokenizer; see `load_config`."""
    return load_config(TokenizerTrainConfig, layers, OWN)
