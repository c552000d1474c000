"""The generator's networks on one device: warps and a first frame in, a piece of a clip out.

Latents are normalised, `[1, channel, latent_frame, lh, lw]`; videos are `[frame, h, w, 3]`.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.checkpoints import find_checkpoint
from src.io.image import to_uint8
from src.runtime import InputError, get_logger
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import load_tokenizer
from src.training.task import Stopwatch

from ..conditioning.cache import Warps
from ..conditioning.latents import condition_latents, first_frame_latent, latent_encoder
from ..config import SdgConfig
from ..hardware import HardwareConfig
from ..model.chunks import chunk_tokens
from ..model.denoiser import Network
from ..model.network import Gen3CTransformer, load_generator
from ..model.offload import resident, stream_blocks
from .recipe import Context, SamplingPlan, decode_latents, sample_latents
from .sampler import Progress
from .step_cache import CountedNetwork

LOGGER = get_logger(__name__)


@dataclass(frozen=True)
class Piece:
    """A generated piece of a clip: the sampler's last state, and the frames it decodes to.

    `last_frame`, in [-1, 1] and on the device, is the first frame of the next piece. `forwards` is
    the number of the network's forwards that it took.
    """

    latents: Float[Tensor, "channel latent_frame lh lw"]
    frames: UInt8[Tensor, "frame h w 3"]
    last_frame: Float[Tensor, "3 h w"]
    forwards: int = 0


class Gen3C:
    """Camera-controlled video diffusion: the transformer and the tokenizer on one device."""

    def __init__(
        self, network: Gen3CTransformer, tokenizer: VideoTokenizer, hardware: HardwareConfig
    ) -> None:
        """Take the networks; a transformer that will be streamed has to be on the CPU."""
        self.network, self.tokenizer, self.hardware = network, tokenizer, hardware
        # Times the parts of a clip; each ends with numbers that the CPU waits for.
        self.clock = Stopwatch()
        # Replaced where several processes sample a clip together: the network, and the function.
        self.sampled: Network = network
        self.sample = sample_latents
        self.max_buffers = network.config.warp_channels // (2 * network.config.out_channels)
        if hardware.precision == "fp8":
            network.use_float8()
        tokenizer.latent_frames_at_once = hardware.plan.tokenizer_frames
        if hardware.plan.chunk_tokens:
            chunk_tokens(network, hardware.plan.chunk_tokens)
        if hardware.offload_transformer:
            stream_blocks(network, hardware.device)
        if hardware.compile_blocks:
            network.compile_blocks()

    @property
    def device(self) -> torch.device:
        """The device of all computation."""
        return self.hardware.device

    @torch.inference_mode()
    def first_latent(self, frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 channel 1 lh lw"]:
        """Returns the latent of a clip's first frame, in [-1, 1]."""
        with self._working_tokenizer() as tokenizer:
            return first_frame_latent(latent_encoder(tokenizer), frame.to(self.device))

    @torch.inference_mode()
    def warp_latents(self, warps: Warps) -> Float[Tensor, "1 warp_channel latent_frame lh lw"]:
        """Returns the latents of warps of the 3D cache."""
        with self._working_tokenizer() as tokenizer:
            return condition_latents(latent_encoder(tokenizer), warps, self.max_buffers)

    @torch.inference_mode()
    def generate(
        self,
        first: Float[Tensor, "1 channel 1 lh lw"],
        warps: Float[Tensor, "1 warp_channel latent_frame lh lw"],
        texts: tuple[Context, Context],
        plan: SamplingPlan,
        progress: Progress | None = None,
    ) -> Piece:
        """Sample a piece that begins with the latent `first`, and decode it; see `sample_latents`.

        Raises:
            InputError: latents or pictures that are not finite, as damaged weights make them.
        """
        counted = CountedNetwork(self.sampled)
        with self.clock("sample"):
            latents = self.sample(counted, first, warps, texts=texts, plan=plan, progress=progress)
            _check_finite("the generator", latents)
        with self.clock("decode"):
            video = self.decode(latents)
            _check_finite("the tokenizer's decoder", video)
            frames = to_uint8(video.permute(1, 2, 3, 0)).cpu()
        last = video[:, -1].float().clamp(-1, 1)
        return Piece(latents[0].cpu(), frames, last, forwards=counted.forwards)

    @torch.inference_mode()
    def decode(
        self, latents: Float[Tensor, "1 channel latent_frame lh lw"]
    ) -> Float[Tensor, "3 frame h w"]:
        """Returns the video of latents, about [-1, 1]."""
        with self._working_tokenizer() as tokenizer:
            return decode_latents(tokenizer, latents)[0]

    def _working_tokenizer(self) -> AbstractContextManager[VideoTokenizer]:
        return resident(self.tokenizer, self.device, self.hardware.offload_tokenizer)


def _check_finite(network: str, values: Float[Tensor, "..."]) -> None:
    """Refuse values that would be written as a black clip."""
    if not torch.isfinite(values).all():
        expected = "finite ones; are its weights damaged? scripts/check_weights.py looks"
        raise InputError(network, "made values that are not finite", expected)


def load_gen3c(config: SdgConfig) -> Gen3C:
    """Reads the networks of the checkpoint folder.

    Raises:
        InputError: weights that are missing, damaged, or of another architecture.
    """
    hardware = config.hardware
    folder = find_checkpoint("generator", config.checkpoint_dir)
    LOGGER.info("loading the generator from %s", folder)
    at = "cpu" if hardware.offload_transformer else hardware.device
    network = load_generator(
        folder, at, dtype=hardware.dtype, rope_precision=hardware.rope_precision
    )
    folder = find_checkpoint("tokenizer", config.checkpoint_dir)
    at = "cpu" if hardware.offload_tokenizer else hardware.device
    return Gen3C(network, load_tokenizer(folder, at, hardware.dtype), hardware)
