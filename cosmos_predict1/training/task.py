"""The generator's training task: the network estimates latents of clips from noisy ones."""

from pathlib import Path

import torch
from torch import Tensor

from src.runtime import InputError, without_memory
from src.training.task import Stopwatch

from ..diffusion.model.network import Gen3CTransformer, save_generator
from .clip_task import ClipTask
from .config import GeneratorTrainConfig, network_config
from .lora import (
    adapted_state,
    adapters_of,
    add_adapters,
    has_adapters,
    merged,
    read_adapters,
    write_adapters,
)
from .objective import GeneratorObjective, initialise


class GeneratorTask(ClipTask):
    """Trains all weights of GEN3C, or adapters beside them."""

    def __init__(self, config: GeneratorTrainConfig) -> None:
        """Check the settings as `ClipTask`; adapters also need weights to adapt."""
        super().__init__(config, network_config(config))
        self.config = config
        if config.lora.rank and config.loop.initial_weights is None:
            raise InputError("loop.initial_weights", None, "the weights that lora.rank adapts")
        if self.network_config.sampling.levels:
            expected = "weights that are not distilled: their loss is another"
            raise InputError("loop.initial_weights", "distilled weights", expected)
        self._network: Gen3CTransformer | None = None

    def build(self, device: torch.device, clock: Stopwatch) -> GeneratorObjective:
        """Reads the tokenizer; returns the objective with a new network."""
        config, (positive, negative) = self.config, self._start(device)
        with device:
            network = Gen3CTransformer(self.network_config)
        if config.lora.rank:
            network.to(self._frozen_dtype(device))
            network.learnable_pos_embed.float()
            add_adapters(network, config.lora)
        else:
            initialise(network)
        network.gradient_checkpointing = config.gradient_checkpointing
        if config.compile and device.type == "cuda":
            network.compile_blocks()
        self._network = network
        return GeneratorObjective(network, config.edm, text=positive, negative_text=negative)

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write weights for `--checkpoint_dir` of the commands, with adapters beside them."""
        lora = self.config.lora
        if lora.rank:
            write_adapters(folder, weights, lora)
            if not lora.merge:
                return
            weights = merged(weights, lora)
        with without_memory():
            network = Gen3CTransformer(self.network_config)
        network.load_state_dict(weights, assign=True)
        save_generator(network, folder)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of a checkpoint, or of any generator; raises as `load_generator`."""
        lora = self.config.lora
        if not lora.rank:
            return self._plain(path, torch.float32)
        dtype = self._frozen_dtype(self.device)
        initial = self.config.loop.initial_weights
        if has_adapters(path) and initial is not None:
            return adapted_state(self._plain(Path(initial), dtype), read_adapters(path, lora))
        # A new run: `build` has made its network with new adapters.
        assert self._network is not None, "new adapters before build"
        return adapted_state(self._plain(path, dtype), adapters_of(self._network.state_dict()))
