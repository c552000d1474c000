"""The small networks, each loaded at its first use."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings
from cosmos_predict1.diffusion.hardware import HardwareConfig
from cosmos_predict1.diffusion.model.architecture import read_config
from cosmos_predict1.diffusion.model.network import load_generator
from cosmos_predict1.diffusion.model.text import prompt_contexts
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan
from src.checkpoints import find_checkpoint, search_checkpoint
from src.depth.backends.nano import NanoDepth, load_nano_depth
from src.models.recon.decoder import load_decoder
from src.models.recon.scene_decoder import SceneDecoder, cast_trunk
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import load_tokenizer
from src.training.task import Stopwatch

from .sampling import ClipStarts, sample_clips

Video: TypeAlias = Float[Tensor, "clip 3 frame h w"]
Latents: TypeAlias = Float[Tensor, "clip c latent_frame lh lw"]


class Networks:
    """All parts of the small weights on one device."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        decoders: Mapping[str, Path] | None = None,
        generator: Path | None = None,
        num_steps: int | None = None,
    ) -> None:
        """`folder` holds the parts; `decoders` replace its `static` or `dynamic` one.

        `generator` replaces its generator, `num_steps` the number in the configuration of that.
        """
        self.folder, self.decoders, self.device = folder, decoders or {}, device
        self._generator_folder, self._num_steps = generator or folder, num_steps
        self.hardware = HardwareConfig(device=device)

    @cached_property
    def tokenizer(self) -> VideoTokenizer:
        """The video autoencoder."""
        folder = find_checkpoint("tokenizer", self.folder)
        return load_tokenizer(folder, self.device, self.hardware.dtype)

    @cached_property
    def generator(self) -> Gen3C:
        """The diffusion transformer with the tokenizer."""
        folder = find_checkpoint("generator", self._generator_folder)
        network = load_generator(folder, self.device, self.hardware.dtype)
        return Gen3C(network, self.tokenizer, self.hardware)

    @cached_property
    def cache(self) -> CacheSettings:
        """The filter of the 3D cache, as in the commands: it drops pixels without depth."""
        folder = search_checkpoint("generator", self._generator_folder)
        if folder is None:
            return CacheSettings(drop_invalid=True)
        threshold = read_config(folder).sampling.filter_points_threshold
        return CacheSettings(threshold=threshold, drop_invalid=True)

    @cached_property
    def depth(self) -> NanoDepth:
        """Depth and lens of a picture."""
        return load_nano_depth(find_checkpoint("depth", self.folder), self.device)

    @cached_property
    def static_decoder(self) -> SceneDecoder:
        """The decoder of still scenes."""
        return self._decoder("static")

    @cached_property
    def dynamic_decoder(self) -> SceneDecoder:
        """The decoder of moving scenes."""
        return self._decoder("dynamic")

    def coded(self, video: Video) -> Video:
        """Returns videos after the tokenizer."""
        latents = self.tokenizer.encode(2 * video - 1)
        return self.decode(self.tokenizer.statistics.normalise(latents))

    def decode(self, latents: Latents) -> Video:
        """Returns the videos of normalised latents."""
        video = self.tokenizer.decode(self.tokenizer.statistics.denormalise(latents))
        return ((video.float() + 1) / 2).clamp(0, 1)

    def generate(self, starts: ClipStarts, clock: Stopwatch | None = None) -> Latents:
        """Returns normalised latents of clips, sampled as the weights' configuration says."""
        config = self.generator.network.config
        sampling = config.sampling
        plan = SamplingPlan(
            num_steps=self._num_steps or sampling.num_steps,
            guidance=sampling.guidance,
            fps=sampling.fps,
            seeds=starts.seeds,
        )
        return sample_clips(self.generator, starts, prompt_contexts(config, None), plan, clock)

    def _decoder(self, kind: str) -> SceneDecoder:
        folder = self.decoders.get(kind)
        folder = folder or find_checkpoint(f"decoder_{kind}", self.folder)
        model = load_decoder(folder, device=self.device).requires_grad_(False)
        return SceneDecoder(cast_trunk(model, self.hardware.dtype), self.tokenizer)
