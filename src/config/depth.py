"""The configuration of the depth network's training, as files and arguments give it."""

from collections.abc import Sequence

from ..training.depth_config import DepthTrainConfig
from .loading import Layer, load_config
from .translation import KeyTable

# Nothing of the kind was published: all keys are our own.
OWN = KeyTable({})


def load_depth_train_config(layers: Sequence[Layer]) -> DepthTrainConfig:
    """The training configuration of the depth network; see `load_config`."""
    return load_config(DepthTrainConfig, layers, OWN)
