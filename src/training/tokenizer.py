"""The tokenizer's task: videos go through the network and are to come back in their colours."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..evaluation.lpips import load_lpips
from ..runtime import InputError, can_compile
from ..tokenizer import planar
from ..tokenizer.cosmos import VideoTokenizer, latent_frames
from ..tokenizer.loading import load_tokenizer, save_tokenizer
from .perceptual import lpips_folder
from .progress import Minutes, Span
from .stopwatch import Stopwatch
from .task import Model, Objective, Share, Validation
from .tokenizer_clips import (
    ClipSource,
    FolderSource,
    PoolSource,
    folder_clips,
    held_out_worlds,
)
from .tokenizer_config import TokenizerTrainConfig
from .tokenizer_data import TokenizerBatch, TokenizerBatches
from .tokenizer_figures import Measurement, measure_statistics
from .tokenizer_losses import psnr_of, reconstruction_loss

# Whole clips that go through the network at once where nothing is trained.
CLIPS_AT_ONCE = 4

Step = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


class TokenizerObjective(Objective):
    """The autoencoder with the loss of what it decodes."""

    def __init__(
        self,
        network: nn.Module,
        config: TokenizerTrainConfig,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None,
        compiled: bool,
    ) -> None:
        """Train `network`, a diffusers autoencoder; `perceptual` is LPIPS where it has a weight."""
        super().__init__()
        self.network = network
        self.config, self.perceptual = config, perceptual
        self._compiled: Step = self._plain
        if compiled:
            # Parts of frames have one size, whole ones another.
            self._compiled = torch.compile(self._plain, mode=config.compile_mode, dynamic=False)

    def forward(self, batch: TokenizerBatch, pictures: bool = False) -> Mapping[str, Tensor]:
        """The loss, its L1 of chroma, and the PSNR in dB; with `pictures` the decoded videos."""
        usual = torch.is_grad_enabled() and (self.config.compile_full_frames or not batch.full)
        decoded, terms = (self._compiled if usual else self._plain)(batch.video)
        if self.perceptual is not None:
            loss = terms["loss"] + self.config.loss.lpips * self._distance(decoded, batch.video)
            terms = {**terms, "loss": loss}
        return {**terms, "decoded": decoded} if pictures else terms

    def _plain(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What comes back of videos, and the terms of its loss."""
        network: Any = self.network
        if self.config.planar:
            decoded = planar.decode(network, planar.encode(network, video))
        else:
            decoded = network.decode(network.encode(video).latent_dist.mode()).sample
        terms = reconstruction_loss(decoded, video, self.config.loss)
        figures = {"chroma": terms.chroma, "psnr": psnr_of(terms.mse)}
        return decoded, {"loss": terms.total, **{k: v.detach() for k, v in figures.items()}}

    def _distance(
        self, decoded: Float[Tensor, "clip 3 frame h w"], video: Float[Tensor, "clip 3 frame h w"]
    ) -> Float[Tensor, ""]:
        """LPIPS of some random frames, the same ones of all clips."""
        assert self.perceptual is not None, "a distance without its network"
        frames = torch.randperm(video.shape[2])[: self.config.lpips_frames].to(video.device)
        ours, theirs = (
            (part[:, :, frames].transpose(1, 2).flatten(0, 1).clamp(-1, 1) + 1) / 2
            for part in (decoded, video)
        )
        with torch.autocast(video.device.type, enabled=False):
            return self.perceptual(ours.float(), theirs.float()).mean()


class TokenizerTask:
    """A tokenizer from nothing, on worlds or on clips."""

    def __init__(self, config: TokenizerTrainConfig) -> None:
        """Nothing is read or rendered before `build`."""
        self.config = config
        self.device = torch.device("cpu")
        self._source: ClipSource | None = None
        self._held_out: UInt8[Tensor, "clip 3 frame h w"] | None = None
        loop = config.loop
        self._minutes = Minutes(loop.max_minutes, loop.total_minutes)

    def prepare(self) -> None:
        """Nothing is written beforehand.

        Raises:
            InputError: a loss with LPIPS, whose weights are missing.
        """
        _lpips_folder(self.config)

    def build(self, device: torch.device, clock: Stopwatch) -> TokenizerObjective:
        """The objective with a new autoencoder; the clips are found or rendered first.

        Raises:
            InputError: no clips to train on.
        """
        self.device, config = device, self.config
        if config.data.root is None:
            if config.data.held_out:
                self._held_out = held_out_worlds(config.data, device).color[:, 0]
        else:
            folder_clips(config.data)
        network = self._tokenizer().to(device).autoencoder
        compiled = config.compile and can_compile(device, planar.encode)
        return TokenizerObjective(network, config, _perceptual(config, device), compiled)

    def batches(self, share: Share) -> TokenizerBatches:
        """Random samples, other ones for each process."""
        config, loop = self.config, self.config.loop
        seed = [loop.seed, share.rank]
        if config.data.root is None:
            self._source = PoolSource(config.data, self.device, seed)
        else:
            train, held = folder_clips(config.data)
            self._source = FolderSource(config.data, train, self.device, seed, loop.workers)
            if held:
                rest = FolderSource(config.data, held, self.device, seed, loop.workers)
                self._held_out = rest.spread(config.data.held_out).color
        span = Span(0, loop.max_steps * config.optim.accumulation_steps)
        minutes = self._minutes
        minutes.begin_training(0.0)

        def progress(position: int) -> float:
            return max(span.share(position), minutes.share)

        return TokenizerBatches(self._source, config, progress, seed, share.position)

    def keys(self, batch: TokenizerBatch) -> list[str]:
        """The names of the clips."""
        return batch.keys

    def validate(self, model: Model, share: Share) -> Validation:
        """Colours of whole held-out clips; pictures of the first, decoded below given."""
        held = self._held_out
        if held is None:
            return Validation()
        measurement = Measurement()
        # All processes go round equally often, the last time some of them for nothing.
        for first in range(0, len(held), share.world_size):
            index = first + share.rank
            video = held[index % len(held)][None].float() / 127.5 - 1
            decoded = model(TokenizerBatch(video, [], full=True), pictures=True)["decoded"]
            if index < len(held):
                measurement.add(decoded, video)
        return measurement.result()

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a tokenizer folder, with the statistics of these weights' latents."""
        save_tokenizer(self.measured(weights), folder)

    def measured(self, weights: Mapping[str, Tensor]) -> VideoTokenizer:
        """The tokenizer of some weights, with the statistics of the training clips' latents."""
        assert self._source is not None, "statistics before there are clips"
        tokenizer = self._tokenizer(weights).to(self.device)
        clips = self._source.spread(self.config.data.statistics_clips).color
        with torch.no_grad():
            statistics = measure_statistics(encoder(tokenizer), _videos(clips))
        tokenizer.mean = statistics.mean.to(self.device)
        tokenizer.std = statistics.std.to(self.device)
        return tokenizer

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Those of a tokenizer folder; see `load_tokenizer` for errors.

        Raises:
            InputError: a tokenizer of other widths.
        """
        tokenizer = load_tokenizer(path)
        wanted = self._tokenizer().autoencoder.config
        for name in self.config.network.architecture():
            found, expected = tokenizer.autoencoder.config[name], wanted[name]
            if found != expected and list(found) != list(expected):
                raise InputError(path, f"{name}={found}", f"{expected}, as configured")
        return dict(tokenizer.autoencoder.state_dict())

    def _tokenizer(self, weights: Mapping[str, Tensor] | None = None) -> VideoTokenizer:
        """A tokenizer on the CPU, its statistics unknown."""
        network = self.config.network
        length = latent_frames(self.config.data.frames)
        mean = torch.zeros(network.latent_channels, length)
        tokenizer = VideoTokenizer(network.architecture(), mean, torch.ones_like(mean))
        if weights is not None:
            tokenizer.autoencoder.load_state_dict(dict(weights))
        return tokenizer


def encoder(tokenizer: VideoTokenizer) -> Callable[[Tensor], Tensor]:
    """The tokenizer's encoder, by the faster way, for several clips at once."""

    def encode(video: Float[Tensor, "clip 3 frame h w"]) -> Float[Tensor, "clip channel _ _ _"]:
        return planar.encode(tokenizer.autoencoder, video)

    return encode


def _videos(
    clips: UInt8[Tensor, "clip 3 frame h w"],
) -> Iterator[Float[Tensor, "some 3 frame h w"]]:
    """A few clips at a time, in [-1, 1]."""
    for some in clips.split(CLIPS_AT_ONCE):
        yield some.float() / 127.5 - 1


def _lpips_folder(config: TokenizerTrainConfig) -> Path | None:
    return lpips_folder(config.loss.lpips, "loss.lpips", config.checkpoint_dir)


def _perceptual(
    config: TokenizerTrainConfig, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS, or None where its weight is 0."""
    folder = _lpips_folder(config)
    if folder is None:
        return None
    # Not a module's attribute by its name, so that nobody trains or saves it.
    return load_lpips(folder, device).forward
