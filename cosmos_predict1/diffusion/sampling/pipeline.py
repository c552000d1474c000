"""The generator's networks, loaded once: warps and a first frame go in, a clip's piece comes out.

Latents are normalised ones, `[1, channel, latent_frame, lh, lw]`; videos are `[frame, h, w, 3]`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.checkpoints import find_checkpoint
from src.io.image.pixels import to_uint8
from src.runtime import InputError, get_logger
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import load_tokenizer

from ..conditioning.cache import Warps
from ..conditioning.conditions import Conditions
from ..conditioning.latents import (
    condition_latents,
    condition_mask,
    first_frame_latent,
    latent_encoder,
)
from ..config import HardwareConfig, SdgConfig
from ..model.denoiser import Denoiser, guided
from ..model.network import Gen3CTransformer, load_generator
from ..model.offload import resident, stream_blocks
from .sampler import sample
from .schedule import condition_noise, initial_noise, noise_levels

LOGGER = get_logger(__name__)
Context = Float[Tensor, "1 token context"]


@dataclass(frozen=True)
class SamplingPlan:
    """How one piece is sampled; `published_noise` is that of `initial_noise`."""

    num_steps: int
    guidance: float
    fps: float
    seed: int
    published_noise: bool = False


@dataclass(frozen=True)
class Piece:
    """What was generated: the sampler's last state, and the frames it decodes to."""

    latents: Float[Tensor, "channel latent_frame lh lw"]
    frames: UInt8[Tensor, "frame h w 3"]
    last_frame: Float[Tensor, "3 h w"]
    """In [-1, 1], on the device: what a next piece begins with."""


class Gen3C:
    """Camera-controlled video diffusion: the transformer and the tokenizer on one device."""

    def __init__(
        self, network: Gen3CTransformer, tokenizer: VideoTokenizer, hardware: HardwareConfig
    ) -> None:
        """Take the networks, the transformer on its device or, to be streamed, on the CPU."""
        self.network, self.tokenizer, self.hardware = network, tokenizer, hardware
        self.max_buffers = network.config.warp_channels // (2 * network.config.out_channels)
        if hardware.offload_transformer:
            stream_blocks(network, hardware.device)
        if hardware.compile_blocks:
            network.compile_blocks()

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.hardware.device

    @torch.inference_mode()
    def first_latent(self, frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 channel 1 lh lw"]:
        """The latent of a clip's first frame, in [-1, 1]."""
        with self._working_tokenizer() as tokenizer:
            return first_frame_latent(latent_encoder(tokenizer), frame.to(self.device))

    @torch.inference_mode()
    def warp_latents(self, warps: Warps) -> Float[Tensor, "1 warp_channel latent_frame lh lw"]:
        """The latents of what the cameras see of the 3D cache."""
        with self._working_tokenizer() as tokenizer:
            return condition_latents(latent_encoder(tokenizer), warps, self.max_buffers)

    @torch.inference_mode()
    def generate(
        self,
        first: Float[Tensor, "1 channel 1 lh lw"],
        warps: Float[Tensor, "1 warp_channel latent_frame lh lw"],
        texts: tuple[Context, Context],
        plan: SamplingPlan,
        progress: Callable[[int, Tensor], None] | None = None,
    ) -> Piece:
        """Sample a piece that begins with the frame of `first`, and decode it.

        Args:
            first: latent of the first frame.
            warps: condition latents of all frames.
            texts: what the piece shows, and what it does not.
            plan: steps, guidance, frame rate and seed.
            progress: called after each step.

        Raises:
            InputError: latents or pictures that are not finite, as damaged weights make them.
        """
        shape = (1, self.network.config.out_channels, *warps.shape[2:])
        positive, negative = (text.to(self.device) for text in texts)
        conditions = Conditions(positive, condition_mask(warps), warps, plan.fps)
        noise = condition_noise(shape, plan.seed)[:, :, :1].to(self.device)
        predict = guided(self.network, conditions, negative, plan.guidance)
        denoiser = Denoiser(predict, first, noise)
        start = initial_noise(shape, plan.seed, self.device, plan.published_noise)
        levels = noise_levels(plan.num_steps)
        latents = sample(denoiser, start, levels, progress, denoiser.constrain)
        _check_finite("the generator", latents)
        video = self.decode(latents)
        _check_finite("the tokenizer's decoder", video)
        frames = to_uint8(video.permute(1, 2, 3, 0)).cpu()
        return Piece(latents[0].cpu(), frames, video[:, -1].float().clamp(-1, 1))

    @torch.inference_mode()
    def decode(
        self, latents: Float[Tensor, "1 channel latent_frame lh lw"]
    ) -> Float[Tensor, "3 frame h w"]:
        """The video of latents, about [-1, 1]."""
        with self._working_tokenizer() as tokenizer:
            return tokenizer.decode(tokenizer.denormalise(latents))[0]

    def _working_tokenizer(self) -> AbstractContextManager[VideoTokenizer]:
        return resident(self.tokenizer, self.device, self.hardware.offload_tokenizer)


def _check_finite(network: str, values: Float[Tensor, "..."]) -> None:
    """Refuse what would be written as a black clip."""
    if not torch.isfinite(values).all():
        expected = "finite ones; are its weights damaged? scripts/check_weights.py looks"
        raise InputError(network, "made values that are not finite", expected)


def load_gen3c(config: SdgConfig) -> Gen3C:
    """The generator of the checkpoint folder.

    Raises:
        InputError: weights that are missing, damaged, or of another architecture.
    """
    hardware = config.hardware
    folder = find_checkpoint("generator", config.checkpoint_dir)
    LOGGER.info("loading the generator from %s", folder)
    at = "cpu" if hardware.offload_transformer else hardware.device
    network = load_generator(folder, at, hardware.dtype, hardware.rope_precision)
    folder = find_checkpoint("tokenizer", config.checkpoint_dir)
    at = "cpu" if hardware.offload_tokenizer else hardware.device
    return Gen3C(network, load_tokenizer(folder, at, hardware.dtype), hardware)
