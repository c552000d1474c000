"""The tokenizer's task: the reconstruction of videos by an autoencoder; and its export."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...evaluation.metrics import load_lpips
from ...runtime import InputError, can_compile, default_device, rank
from ...tokenizer.cosmos import VideoTokenizer, latent_frames
from ...tokenizer.loading import load_tokenizer, save_tokenizer
from ...tokenizer.network import Autoencoder
from .. import offered
from ..checkpoints.files import LATEST, choose_checkpoint
from ..checkpoints.writing import check_apart, writing
from ..settings import lpips_folder
from ..task import Model, Objective, Progress, Share, Stopwatch, Validation, joined
from .clips import ClipSource, FolderSource, folder_clips
from .config import PoolConfig, TokenizerDataConfig, TokenizerTrainConfig
from .data import TokenizerBatch, TokenizerBatches
from .figures import PICTURED, measure_clip, measure_statistics, psnr_of, reconstruction_loss
from .guided import GuidedStartConfig, LinearCode, guidance_loss, guide_start

# Whole clips that are encoded at once without training.
CLIPS_AT_ONCE = 4
# Offered by another package for runs without a folder of clips.
WORLDS, HELD_OUT_WORLDS = "worlds for the tokenizer", "held-out worlds for the tokenizer"

Step = Callable[[Tensor, Tensor | None], tuple[Tensor, dict[str, Tensor]]]


class TokenizerObjective(Objective):
    """The autoencoder with the loss of what it decodes."""

    network: Autoencoder

    # Their rows and columns stand for bands of very different size.
    outer = ("encoder.conv_in.", "decoder.conv_out.")

    def __init__(
        self,
        network: Autoencoder,
        config: TokenizerTrainConfig,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None,
        compiled: bool,
        code: LinearCode | None = None,
    ) -> None:
        """Train `network` with its step `compiled` or as it is.

        `perceptual` is LPIPS, if it has a weight; `code` is the target of the latents in the
        guidance loss, None without guidance.
        """
        super().__init__()
        self.network, self.code = network, code
        self.config, self.perceptual = config, perceptual
        self._compiled: Step = self._plain
        if compiled:
            # Crops and whole frames have two sizes, each compiled once.
            self._compiled = torch.compile(self._plain, mode=config.compile_mode, dynamic=False)

    def forward(self, batch: TokenizerBatch, pictures: bool = False) -> Mapping[str, Tensor]:
        """Returns the loss, the L1 of chroma, the PSNR in dB, and with `pictures` the videos."""
        usual = torch.is_grad_enabled() and (self.config.compile_full_frames or not batch.full)
        weight = None
        if self.code is not None and torch.is_grad_enabled():
            # A tensor even for 0, so that one compiled step serves all weights.
            weight = torch.full((), batch.guidance, device=batch.video.device)
        decoded, terms = (self._compiled if usual else self._plain)(batch.video, weight)
        if self.perceptual is not None:
            loss = terms["loss"] + self.config.loss.lpips * self._distance(decoded, batch.video)
            terms = {**terms, "loss": loss}
        return {**terms, "decoded": decoded} if pictures else terms

    def _plain(self, video: Tensor, weight: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the decoded videos and the loss terms; `weight` is that of the guidance."""
        latent = self.network.encode(video)
        decoded = self.network.decode(latent)
        terms = reconstruction_loss(decoded, video, self.config.loss)
        loss, figures = terms["loss"], {"chroma": terms["chroma"], "psnr": psnr_of(terms["mse"])}
        if self.code is not None and weight is not None:
            figures["guidance"] = guidance_loss(latent, video, self.code)
            loss = loss + weight * figures["guidance"]
        return decoded, {"loss": loss, **{k: v.detach() for k, v in figures.items()}}

    def _distance(
        self, decoded: Float[Tensor, "clip 3 frame h w"], video: Float[Tensor, "clip 3 frame h w"]
    ) -> Float[Tensor, ""]:
        """Returns the LPIPS of some random frames, the same ones in all clips."""
        assert self.perceptual is not None, "a distance without its network"
        frames = torch.randperm(video.shape[2])[: self.config.lpips_frames].to(video.device)
        ours, theirs = (
            (part[:, :, frames].transpose(1, 2).flatten(0, 1).clamp(-1, 1) + 1) / 2
            for part in (decoded, video)
        )
        with torch.autocast(video.device.type, enabled=False):
            return self.perceptual(ours.float(), theirs.float()).mean()


class TokenizerTask:
    """The training of a tokenizer on worlds or on clips."""

    def __init__(self, config: TokenizerTrainConfig) -> None:
        self.config = config
        self.device = torch.device("cpu")
        self._source: ClipSource | None = None
        self._held_out: UInt8[Tensor, "clip 3 frame h w"] | None = None

    def prepare(self) -> None:
        """Check the settings; raises `InputError` if the weights of LPIPS are missing."""
        _lpips_folder(self.config)

    def build(self, device: torch.device, clock: Stopwatch) -> TokenizerObjective:
        """Returns the objective with a new autoencoder; finds or renders the held-out clips first.

        Raises `InputError` if there are no training clips.
        """
        self.device, config = device, self.config
        if config.data.root is None:
            if config.data.held_out:
                self._held_out = offered(HELD_OUT_WORLDS)(config.data, device)
        else:
            folder_clips(config.data)
        network, code = self._tokenizer().to(device).autoencoder, None
        if config.decoder_only:
            for part in (network.encoder, network.quant_conv):
                part.requires_grad_(False)
        if config.guided.enabled:
            clips = self._open_source(rank()).spread(config.guided.clips).color
            code = guide_start(network, lambda: _videos(clips), config.network.latent_channels)
        compiled = config.compile and can_compile(device, Autoencoder.encode)
        folder = _lpips_folder(config)
        # A method, so that LPIPS does not become a submodule that is trained or saved.
        perceptual = None if folder is None else load_lpips(folder, device).forward
        return TokenizerObjective(
            network, config, perceptual=perceptual, compiled=compiled, code=code
        )

    def batches(self, share: Share, progress: Progress) -> TokenizerBatches:
        """Returns random samples, different ones in each process."""
        config = self.config
        # A guided start has opened the clips already.
        source = self._source if config.guided.enabled else None
        source = source or self._open_source(share.rank)
        seed = [config.loop.seed, share.rank]
        return TokenizerBatches(source, config, progress, seed=seed, position=share.position)

    def _open_source(self, rank: int) -> ClipSource:
        """Opens the training clips of one process; also reads the held-out clips of a folder."""
        config, loop = self.config, self.config.loop
        seed = [loop.seed, rank]
        if config.data.root is None:
            source: ClipSource = offered(WORLDS)(config.data, self.device, seed)
            self._source = source
            return source
        train, held = folder_clips(config.data)
        train_source, held_source = (
            FolderSource(config.data, clips, self.device, seed=seed, workers=loop.workers)
            for clips in (train, held)
        )
        self._source = train_source
        if held:
            self._held_out = held_source.spread(config.data.held_out).color
        return self._source

    def keys(self, batch: TokenizerBatch) -> list[str]:
        """Returns the names of the clips."""
        return batch.keys

    def validate(self, model: Model, share: Share) -> Validation:
        """Measures whole held-out clips; the picture shows the first ones above their decoding."""
        held = self._held_out
        if held is None:
            return Validation()
        parts: list[Validation] = []
        for index, counts in share.turns(len(held)):
            video = held[index][None].float() / 127.5 - 1
            decoded = model(TokenizerBatch(video, [], full=True), pictures=True)["decoded"]
            if counts:
                parts.append(measure_clip(decoded, video, draw=len(parts) < PICTURED))
        return joined(parts)

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a tokenizer folder with the statistics of the latents of these weights."""
        save_tokenizer(self.measured(weights), folder)

    def measured(self, weights: Mapping[str, Tensor]) -> VideoTokenizer:
        """Returns the tokenizer of these weights, with statistics measured on training clips.

        A run that keeps the encoder keeps its statistics, too.
        """
        tokenizer = self._tokenizer(weights).to(self.device)
        first = self.config.loop.initial_weights
        if self.config.decoder_only and first is not None:
            kept = load_tokenizer(Path(first))
            tokenizer.mean, tokenizer.std = kept.mean.to(self.device), kept.std.to(self.device)
            return tokenizer
        assert self._source is not None, "statistics before there are clips"
        clips = self._source.spread(self.config.data.statistics_clips).color
        with torch.no_grad():
            statistics = measure_statistics(tokenizer.autoencoder.encode, _videos(clips))
        tokenizer.mean = statistics.mean.to(self.device)
        tokenizer.std = statistics.std.to(self.device)
        return tokenizer

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Reads the weights of a tokenizer folder; raises as `load_tokenizer`.

        Raises `InputError` for a tokenizer of other widths.
        """
        tokenizer = load_tokenizer(path)
        for name, expected in self.config.network.architecture().items():
            found = getattr(tokenizer.autoencoder.architecture, name)
            if found != expected:
                raise InputError(path, f"{name}={found}", f"{expected}, as configured")
        return dict(tokenizer.autoencoder.state_dict())

    def _tokenizer(self, weights: Mapping[str, Tensor] | None = None) -> VideoTokenizer:
        """Returns a tokenizer on the CPU without measured statistics."""
        network = self.config.network
        length = latent_frames(self.config.data.frames)
        mean = torch.zeros(network.latent_channels, length)
        tokenizer = VideoTokenizer(network.architecture(), mean, torch.ones_like(mean))
        if weights is not None:
            tokenizer.autoencoder.load_state_dict(dict(weights))
        return tokenizer


def _videos(
    clips: UInt8[Tensor, "clip 3 frame h w"],
) -> Iterator[Float[Tensor, "some 3 frame h w"]]:
    """Yield a few clips at a time, in [-1, 1]."""
    for some in clips.split(CLIPS_AT_ONCE):
        yield some.float() / 127.5 - 1


def _lpips_folder(config: TokenizerTrainConfig) -> Path | None:
    return lpips_folder(config.loss.lpips, "loss.lpips", config.checkpoint_dir)


def export_tokenizer(
    config: TokenizerTrainConfig,
    run: Path,
    target: Path,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, int | bool]:
    """Write `config.json` and the weights of a run's newest checkpoint into `target`.

    The weights are the moving average if there is one; returns the `step` and whether they are. The
    statistics of the latents are measured on training clips, drawn as at the end of the run. Raises
    `InputError` for no checkpoint, only damaged ones, or a target inside the run.
    """
    check_apart(run, target)
    data, canvases = config.data, config.data.canvases
    # Only the clips of the statistics are made, none are drawn.
    canvases = replace(canvases, clips=1, renewed=0)
    data = replace(data, held_out=0, pools=_last_look(data), canvases=canvases)
    # No loss is computed, so LPIPS is not needed.
    loss = replace(config.loss, lpips=0.0)
    task = TokenizerTask(replace(config, data=data, loss=loss, guided=GuidedStartConfig()))
    checkpoint = choose_checkpoint(run, LATEST, task.read_weights)
    if checkpoint is None:
        raise InputError(run, "no checkpoint", "the folder of a run")
    weights = checkpoint.average or checkpoint.weights
    device = default_device()
    task.build(device, Stopwatch())
    task.batches(Share(), lambda: 1.0)
    with writing(target):
        save_tokenizer(task.measured(weights).to(dtype), target)
    return {"step": checkpoint.step, "average": checkpoint.average is not None}


def _last_look(data: TokenizerDataConfig) -> list[PoolConfig]:
    """Returns pools of as many clips as the statistics need, weighted as at the end of the run."""
    if data.root is not None:
        return data.pools
    total = sum(pool.late for pool in data.pools)
    counts = [round(data.statistics_clips * pool.late / total) for pool in data.pools]
    pairs = zip(data.pools, counts, strict=True)
    return [
        replace(pool, worlds=min(max(count, 1), pool.worlds)) for pool, count in pairs if pool.late
    ]
