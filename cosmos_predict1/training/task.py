"""The generator's task: latents of clips in, noise added, the network's estimate of them out."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from src.checkpoints import find_named
from src.config.loading import find_path
from src.io.state_dict import check_tensors
from src.models.recon.scene_decoder import floating_type
from src.runtime import InputError, default_device, get_logger, without_memory
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import load_tokenizer
from src.training.sources import offered
from src.training.stopwatch import Stopwatch
from src.training.task import Model, Progress, Share, Validation

from ..diffusion.model.network import Gen3CTransformer, load_generator, save_generator
from ..diffusion.model.text import PromptEncoder, prompt_contexts
from ..diffusion.sampling.recipe import SamplingPlan
from .config import GeneratorTrainConfig, network_config
from .folder_clips import folder_clips, list_clips, split_clips
from .latents import ClipEncoder, EncodedClips, LatentBatch, LatentBatches, encode_all
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
from .sources import SourcedClips, cache_settings
from .validation import Sampler, evaluate

LOGGER = get_logger(__name__)
# Held-out clips that are sampled together.
SAMPLED_AT_ONCE = 16
VALIDATION_SEED = 0
# What another package offers where there is no folder of clips.
WORLDS = "worlds for the generator"


class GeneratorTask:
    """Trains GEN3C: all of its weights, or adapters beside them."""

    def __init__(self, config: GeneratorTrainConfig) -> None:
        """Check what the settings say of each other; weights and data are read later.

        Raises:
            InputError: settings that contradict each other, sizes that the network cannot do.
        """
        self.config, self.network_config = config, network_config(config)
        size = self.network_config.sampling
        self.network_config.check_size(size.num_frames, size.height, size.width)
        if config.lora.rank and config.loop.initial_weights is None:
            raise InputError("loop.initial_weights", None, "the weights that lora.rank adapts")
        worlds = config.data.worlds
        if config.data.root is None and not worlds.static + worlds.dynamic:
            expected = "a folder of clips, or data.worlds.static and data.worlds.dynamic above 0"
            raise InputError("data.root", None, expected)
        self.device = default_device()
        self._network: Gen3CTransformer | None = None
        self._tokenizer: VideoTokenizer | None = None
        self._held_out: list[EncodedClips] | None = None

    def prepare(self) -> None:
        """Nothing is missing: clips live in memory; see `Task.prepare`."""

    def build(self, device: torch.device, clock: Stopwatch) -> GeneratorObjective:
        """The objective with a new network; the tokenizer is read first."""
        self.device, config = device, self.config
        self._tokenizer = self._read_tokenizer(device)
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
        encoder = None
        if self.network_config.sampling.text_encoder != "none":
            encoder = PromptEncoder(config.checkpoint_dir, device, offload=True)
        prompts = (config.prompt, config.negative_prompt)
        texts = prompt_contexts(self.network_config, encoder, *prompts)
        positive, negative = (text.to(device) for text in texts)
        return GeneratorObjective(network, config.edm, positive, negative)

    def batches(self, share: Share, progress: Progress) -> LatentBatches:
        """Random clips, a disjoint part of them for each process; renders and encodes them."""
        data, loop = self.config.data, self.config.loop
        encoder = self._encoder(loop.seed + share.rank)
        storage = self.device if data.storage == "device" else torch.device("cpu")
        clips = encode_all(self._clips(share, held_out=False), encoder, storage)
        LOGGER.info("%d clips to learn from", len(clips))
        channels = self.network_config.warp_channels
        batches = LatentBatches(clips, loop.batch_size, channels, self.device, loop.seed)
        batches.position = share.position
        return batches

    def keys(self, batch: LatentBatch) -> list[str]:
        """The world or the file of each clip, and the trajectory."""
        return batch.keys

    def validate(self, model: Model, share: Share) -> Validation:
        """Figures of held-out clips, always with the same noise; see `validation.py`."""
        if self._held_out is None:
            # The whole of it in each process: it is small, and all call the model equally often.
            encoder = self._encoder(self.config.loop.seed)
            self._held_out = [encoder(part) for part in self._clips(Share(), held_out=True)]
        if not self._held_out:
            return Validation()
        assert self._tokenizer is not None, "validate before build"
        config, size = self.config.validation, self.network_config.sampling
        guidances = config.guidances or [size.guidance]
        sampler = Sampler(
            model=model,
            tokenizer=self._tokenizer,
            plan=SamplingPlan(
                num_steps=size.num_steps,
                guidance=guidances[0],
                fps=size.fps,
                seeds=(VALIDATION_SEED,),
            ),
            guidances=guidances,
            warp_channels=self.network_config.warp_channels,
        )
        return evaluate(sampler, self._held_out, share, config.pictured)

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write them as the commands read them (`--checkpoint_dir`), adapters beside them."""
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
        """The weights of a checkpoint, or of any generator; see `load_generator` for errors."""
        lora = self.config.lora
        if not lora.rank:
            return self._plain(path, torch.float32)
        dtype = self._frozen_dtype(self.device)
        initial = self.config.loop.initial_weights
        if has_adapters(path) and initial is not None:
            return adapted_state(self._plain(Path(initial), dtype), read_adapters(path, lora))
        # These weights begin a run, whose network exists already.
        assert self._network is not None, "new adapters before build"
        return adapted_state(self._plain(path, dtype), adapters_of(self._network.state_dict()))

    def _plain(self, path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
        """All weights of a folder, of the configured network."""
        path = find_path(path)
        state = dict(load_generator(path, dtype=dtype).state_dict())
        with without_memory():
            wanted = Gen3CTransformer(self.network_config).state_dict()
        check_tensors(path, state, wanted, "the network that is trained")
        return state

    def _read_tokenizer(self, device: torch.device) -> VideoTokenizer:
        """The tokenizer, whose statistics cover the clips."""
        folder = find_named("tokenizer", self.config.tokenizer, "tokenizer")
        tokenizer = load_tokenizer(folder, device, floating_type("auto", device))
        length = latent_frames(self.network_config.sampling.num_frames)
        if length > tokenizer.max_latent_frames:
            expected = f"at most {tokenizer.max_latent_frames}, which its statistics cover"
            raise InputError(folder, f"clips of {length} latent frames", expected)
        return tokenizer

    def _frozen_dtype(self, device: torch.device) -> torch.dtype:
        """The type of weights beside adapters."""
        mixed = self.config.loop.mixed_precision == "bf16"
        return floating_type("auto", device) if mixed else torch.float32

    def _encoder(self, seed: int) -> ClipEncoder:
        assert self._tokenizer is not None, "clips before build"
        warps = self.config.warps
        settings = cache_settings(warps, self.network_config.sampling)
        return ClipEncoder(self._tokenizer, settings, warps.depth_noise, seed)

    def _clips(self, share: Share, held_out: bool) -> Iterator[SourcedClips]:
        """The clips of a process, to learn from or held out."""
        config, size = self.config, self.network_config.sampling
        part = (share.rank, share.world_size)
        if config.data.root is not None:
            sets = split_clips(list_clips(Path(config.data.root)), config.data.held_out)
            chosen = sets[held_out][part[0] :: part[1]]
            return folder_clips(chosen, size, self.device)
        worlds = config.validation.worlds if held_out else config.data.worlds
        at_once = SAMPLED_AT_ONCE if held_out else config.data.worlds_at_once
        return offered(WORLDS)(worlds, size, self.device, part, at_once, held_out)
