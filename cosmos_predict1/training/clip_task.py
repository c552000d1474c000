"""A training task on clips: their data, the conditions and the validation by samples."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from src.checkpoints import find_named
from src.config.loading import find_path
from src.io.damage import check_tensors
from src.models.recon.scene_decoder import floating_type
from src.runtime import InputError, default_device, get_logger, without_memory
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import load_tokenizer
from src.training import offered
from src.training.task import Model, Progress, Share, Validation

from ..diffusion.model.architecture import TransformerConfig
from ..diffusion.model.network import Gen3CTransformer, load_generator
from ..diffusion.model.text import PromptEncoder, prompt_contexts
from ..diffusion.sampling.recipe import Context, SamplingPlan
from .config import ClipTrainConfig
from .latents import ClipEncoder, EncodedClips, LatentBatch, LatentBatches, encode_all
from .sources import SourcedClips, cache_settings, folder_clips, list_clips, split_clips
from .validation import Sampler, evaluate

LOGGER = get_logger(__name__)
# Held-out clips that are sampled together.
SAMPLED_AT_ONCE = 16
VALIDATION_SEED = 0
# The name of the clip source that another package offers instead of a folder.
WORLDS = "worlds for the generator"


class ClipTask:
    """The common part of all tasks on clips; a task adds the objective and the weights."""

    def __init__(self, config: ClipTrainConfig, network_config: TransformerConfig) -> None:
        """Check the settings; weights and data are read later.

        Raises:
            InputError: settings that contradict each other, sizes that the network cannot do.
        """
        self.config, self.network_config = config, network_config
        size = network_config.sampling
        network_config.check_size(size.num_frames, size.height, size.width)
        worlds = config.data.worlds
        if config.data.root is None and not worlds.static + worlds.dynamic:
            expected = "a folder of clips, or data.worlds.static and data.worlds.dynamic above 0"
            raise InputError("data.root", None, expected)
        self.device = default_device()
        self._tokenizer: VideoTokenizer | None = None
        self._held_out: list[EncodedClips] | None = None

    def prepare(self) -> None:
        """Does nothing: clips are in memory; see `Task.prepare`."""

    def batches(self, share: Share, progress: Progress) -> LatentBatches:
        """Render and encode this process' clips; returns random batches of them."""
        data, loop = self.config.data, self.config.loop
        encoder = self._encoder(loop.seed + share.rank)
        storage = self.device if data.storage == "device" else torch.device("cpu")
        clips = encode_all(self._clips(share, held_out=False), encoder, storage)
        LOGGER.info("%d clips to learn from", len(clips))
        batches = LatentBatches(
            clips,
            loop.batch_size,
            warp_channels=self.network_config.warp_channels,
            device=self.device,
            seed=loop.seed,
        )
        batches.position = share.position
        return batches

    def keys(self, batch: LatentBatch) -> list[str]:
        """Returns the world or the file of each clip, with the trajectory."""
        return batch.keys

    def validate(self, model: Model, share: Share) -> Validation:
        """Returns figures of held-out clips, always with the same noise; see `validation.py`."""
        if self._held_out is None:
            # Every process holds all clips: they are few, and all call the model equally often.
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

    def _start(self, device: torch.device) -> tuple[Context, Context]:
        """Reads the tokenizer to `device`; returns prompt and negative prompt."""
        self.device, config = device, self.config
        self._tokenizer = self._read_tokenizer(device)
        encoder = None
        if self.network_config.sampling.text_encoder != "none":
            encoder = PromptEncoder(config.checkpoint_dir, device, offload=True)
        positive, negative = prompt_contexts(
            self.network_config,
            encoder,
            prompt=config.prompt,
            negative_prompt=config.negative_prompt,
        )
        return positive.to(device), negative.to(device)

    def _plain(self, path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
        """Reads all weights of a folder; they have to fit the configured network."""
        path = find_path(path)
        state = dict(load_generator(path, dtype=dtype).state_dict())
        with without_memory():
            wanted = Gen3CTransformer(self.network_config).state_dict()
        check_tensors(path, state, wanted, "the network that is trained")
        return state

    def _read_tokenizer(self, device: torch.device) -> VideoTokenizer:
        """Reads the tokenizer; its statistics have to cover the clips."""
        folder = find_named("tokenizer", self.config.tokenizer, "tokenizer")
        tokenizer = load_tokenizer(folder, device, floating_type("auto", device))
        length = latent_frames(self.network_config.sampling.num_frames)
        covered = tokenizer.statistics.max_latent_frames
        if length > covered:
            expected = f"at most {covered}, which its statistics cover"
            raise InputError(folder, f"clips of {length} latent frames", expected)
        return tokenizer

    def _frozen_dtype(self, device: torch.device) -> torch.dtype:
        """Returns the type of weights beside adapters."""
        mixed = self.config.loop.mixed_precision == "bf16"
        return floating_type("auto", device) if mixed else torch.float32

    def _encoder(self, seed: int) -> ClipEncoder:
        assert self._tokenizer is not None, "clips before build"
        warps = self.config.warps
        settings = cache_settings(warps, self.network_config.sampling)
        return ClipEncoder(self._tokenizer, settings, depth_noise=warps.depth_noise, seed=seed)

    def _clips(self, share: Share, held_out: bool) -> Iterator[SourcedClips]:
        """Yields the training clips or the held-out clips of a process."""
        config, size = self.config, self.network_config.sampling
        if config.data.root is not None:
            sets = split_clips(list_clips(Path(config.data.root)), config.data.held_out)
            chosen = sets[held_out][share.rank :: share.world_size]
            return folder_clips(chosen, size, self.device)
        worlds = config.validation.worlds if held_out else config.data.worlds
        at_once = SAMPLED_AT_ONCE if held_out else config.data.worlds_at_once
        part = (share.rank, share.world_size)
        return offered(WORLDS)(worlds, size, self.device, part, at_once, held_out)
