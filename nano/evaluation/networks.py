"""The small networks, loaded when they are first needed."""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings
from cosmos_predict1.diffusion.config import HardwareConfig
from cosmos_predict1.diffusion.model.architecture import read_config
from cosmos_predict1.diffusion.model.network import load_generator
from cosmos_predict1.diffusion.model.text import prompt_contexts
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C
from src.checkpoints import find_checkpoint, search_checkpoint
from src.depth.backends.nano import NanoDepth, load_nano_depth
from src.models.recon.scene_decoder import SceneDecoder, cast_trunk
from src.models.recon.weights import load_decoder
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import load_tokenizer

from ..clips.sampling import BatchPlan, ClipStarts, sample_clips
from .inputs import Video
from .settings import Settings


class Networks:
    """All parts of the small weights on one device."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        """Load nothing yet."""
        self.settings, self.device = settings, device
        self.hardware = HardwareConfig(device=device)

    @cached_property
    def tokenizer(self) -> VideoTokenizer:
        """The video autoencoder."""
        folder = find_checkpoint("tokenizer", self.settings.nano)
        return load_tokenizer(folder, self.device, self.hardware.dtype)

    @cached_property
    def generator(self) -> Gen3C:
        """The diffusion transformer with the tokenizer."""
        folder = find_checkpoint("generator", self.settings.nano)
        network = load_generator(folder, self.device, self.hardware.dtype)
        return Gen3C(network, self.tokenizer, self.hardware)

    @cached_property
    def cache(self) -> CacheSettings:
        """How the 3D cache is filtered, as the scripts for users and the weights set it."""
        folder = search_checkpoint("generator", self.settings.nano)
        if folder is None:
            return CacheSettings(drop_invalid=True)
        threshold = read_config(folder).sampling.filter_points_threshold
        return CacheSettings(threshold=threshold, drop_invalid=True)

    @cached_property
    def depth(self) -> NanoDepth:
        """Depth and lens of a picture."""
        return load_nano_depth(find_checkpoint("depth", self.settings.nano), self.device)

    @cached_property
    def static_decoder(self) -> SceneDecoder:
        """The decoder of still scenes."""
        return self._decoder("static")

    @cached_property
    def dynamic_decoder(self) -> SceneDecoder:
        """The decoder of moving scenes."""
        return self._decoder("dynamic")

    def coded(self, video: Video) -> Video:
        """Videos after the tokenizer."""
        return self.decode(self.tokenizer.normalise(self.tokenizer.encode(2 * video - 1)))

    def decode(self, latents: Float[Tensor, "clip c latent_frame lh lw"]) -> Video:
        """Videos of normalised latents."""
        video = self.tokenizer.decode(self.tokenizer.denormalise(latents))
        return ((video.float() + 1) / 2).clamp(0, 1)

    def generate(self, starts: ClipStarts) -> Float[Tensor, "clip c latent_frame lh lw"]:
        """Normalised latents of clips, sampled as the weights' configuration says."""
        config = self.generator.network.config
        sampling = config.sampling
        plan = BatchPlan(sampling.num_steps, sampling.guidance, sampling.fps)
        return sample_clips(self.generator, starts, prompt_contexts(config, None), plan)

    def _decoder(self, kind: str) -> SceneDecoder:
        folder = self.settings.decoders.get(kind)
        folder = folder or find_checkpoint(f"decoder_{kind}", self.settings.nano)
        model = load_decoder(folder, device=self.device).requires_grad_(False)
        return SceneDecoder(cast_trunk(model, self.hardware.dtype), self.tokenizer)
