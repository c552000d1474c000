"""The decoder's task: clips in, Gaussians out, rendered frames against those of the generator.

A scene is encoded (pictures on the fly, or latents from disk; Pluecker maps and times always),
decoded to Gaussians, rendered from the cameras of its targets and compared with their frames.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...evaluation.lpips import load_lpips
from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...models.data.dataset import ExampleDraw
from ...models.data.example import Example, Targets, unit_color
from ...models.data.loader import ExampleLoader
from ...models.data.mixture import SceneSet
from ...models.recon.decoder import Decoded, LatentRecon
from ...models.recon.scene_decoder import SceneDecoder, floating_type
from ...models.recon.weights import load_decoder, save_decoder
from ...rendering.deferred import rasterize_deferred
from ...rendering.rasterize import rasterize_scenes
from ...rendering.render import Render
from ...runtime import InputError, without_memory
from ...tokenizer.loading import load_tokenizer
from ..perceptual import lpips_folder
from ..stopwatch import Stopwatch
from ..task import Model, Objective, Progress, Share, Validation
from .config import DecoderTrainConfig
from .data import make_clips, open_data, tokenizer_folder
from .losses import Perceptual, Supervision, decoder_loss
from .pictures import comparison

# Scenes of a validation that are drawn.
PICTURED = 4


class DecoderObjective(Objective):
    """The decoder between its frozen tokenizer and the renderer."""

    network: LatentRecon

    def __init__(
        self,
        scenes: SceneDecoder,
        config: DecoderTrainConfig,
        perceptual: Perceptual | None,
        clock: Stopwatch,
    ) -> None:
        """Train the network of `scenes`; parts that its settings leave unused are frozen."""
        super().__init__()
        self.network = scenes.model
        # Not a module itself, so the tokenizer does not become a part of this one.
        self.scenes = scenes
        self.config, self.perceptual, self.clock = config, perceptual, clock
        for part in (self.network.patch_time_embed, self.network.patch_time_embed_tgt):
            part.requires_grad_(config.decoder.use_time)

    def forward(self, batch: list[Example], pictures: bool = False) -> Mapping[str, Tensor]:
        """The loss, its terms and the PSNR in dB, means over the scenes.

        Scenes of a batch have equally many trajectories, frames and targets. With `pictures` the
        rendered `color` and `depth` of all targets are returned too.
        """
        device = self.scenes.device
        targets = [example.targets.to(device) for example in batch]
        decoded = self._decode(batch)
        with self.clock("render"), torch.autocast(device.type, enabled=False):
            render = self._render(decoded.gaussians, targets, pictures)
            number = (len(targets), -1)
            color, depth = render.color.unflatten(0, number), render.depth.unflatten(0, number)
        with self.clock("loss"), torch.autocast(device.type, enabled=False):
            depth = depth[:, :, 0]
            reference = torch.stack([_color(target) for target in targets])
            terms = decoder_loss(
                Supervision(color, depth, decoded.gaussians.opacities),
                Supervision(reference, _depths(targets)),
                self.config.loss,
                self.perceptual,
            )
        mse = terms.mse.detach()
        figures = {"loss": terms.total, "mse": mse, "psnr": -10 * torch.log10(mse)}
        for name in ("lpips", "depth", "opacity"):
            figures[f"loss_{name}"] = getattr(terms, name).detach()
        return {**figures, "color": color, "depth": depth} if pictures else figures

    def _decode(self, batch: list[Example]) -> Decoded:
        """The Gaussians of all scenes of a batch."""
        times = None
        device = self.scenes.device
        with self.clock("encode"), torch.autocast(device.type, enabled=False):
            seen = self.scenes.batch_conditions(batch)
            if self.config.decoder.use_time:
                size = (batch[0].cameras.height, batch[0].cameras.width)
                sources = [part.source_times for part in seen if part.source_times is not None]
                target = [self.scenes.target_time(example.target_time, size) for example in batch]
                times = (torch.cat(sources), torch.cat(target))
        with self.clock("decode"):
            return self.network(
                torch.cat([part.latents for part in seen]),
                torch.cat([part.pluecker for part in seen]),
                torch.cat([part.origins for part in seen]),
                torch.cat([part.directions for part in seen]),
                times,
            )

    def _render(self, gaussians: Gaussians, targets: list[Targets], depth: bool) -> Render:
        """The targets of all scenes, with depth if it is asked for or the loss compares it."""
        options = replace(self.config.render, depth=depth or self.config.loss.depth > 0)
        if not self.config.deferred:
            cameras = Cameras.stack([target.cameras for target in targets])
            return rasterize_scenes(gaussians, cameras, options)
        scenes = [gaussians.map(lambda part, i=i: part[i]) for i in range(len(targets))]
        pairs = zip(scenes, targets, strict=True)
        return Render.concatenate(
            [rasterize_deferred(scene, target.cameras, options) for scene, target in pairs]
        )


class DecoderTask:
    """Stages 1 to 9 of the decoder; which one is a matter of the configuration."""

    def __init__(self, config: DecoderTrainConfig) -> None:
        """Check what the settings say of each other; nothing is read before `prepare`.

        Raises:
            InputError: a loss without what it compares.
        """
        if config.loss.depth and not config.reading.depth:
            expected = "true, and clips with depth (scripts/add_depth.py); or lambda_depth=0"
            raise InputError("use_depth", False, expected)
        if not config.reading.color:
            raise InputError("reading.color", False, "true: training compares with the targets")
        self.config = config
        self._data: tuple[SceneSet, SceneSet | None] | None = None

    def prepare(self) -> None:
        """Write clips of worlds where no others are given; see `Task.prepare`.

        Raises:
            InputError: a loss with LPIPS, whose weights are missing.
        """
        _lpips_folder(self.config)
        make_clips(self.config)

    def build(self, device: torch.device, clock: Stopwatch) -> DecoderObjective:
        """The objective with a new decoder; the data are checked first."""
        self._data = open_data(self.config)
        network = LatentRecon(self.config.decoder).to(device)
        dtype = floating_type("auto", device)
        tokenizer = load_tokenizer(tokenizer_folder(self.config), device, dtype)
        perceptual = _perceptual(self.config, device)
        kept = int(self.config.pluecker_cache_gib * 2**30)
        scenes = SceneDecoder(network, tokenizer, kept)
        return DecoderObjective(scenes, self.config, perceptual, clock)

    def batches(self, share: Share, progress: Progress) -> ExampleLoader:
        """Scenes of the training split, a disjoint part for each process."""
        assert self._data is not None, "batches before build"
        loop = self.config.loop
        parts = (share.rank, share.world_size, share.position)
        return ExampleLoader(self._data[0], loop.batch_size, loop.workers, *parts)

    def keys(self, batch: list[Example]) -> list[str]:
        """The keys of the scenes, with what was drawn of each."""
        return [
            f"{example.key}: trajectories {list(example.trajectories)},"
            f" targets {example.targets.frame.tolist()}"
            for example in batch
        ]

    def validate(self, model: Model, share: Share) -> Validation:
        """Means over the held-out scenes, always with the same draws; pictures of the first."""
        data = self._data[1] if self._data is not None else None
        if data is None:
            return Validation()
        result, drawn = Validation(), []
        # All processes go round equally often, the last time some of them for nothing.
        for first in range(0, len(data), share.world_size):
            index = first + share.rank
            example = data[ExampleDraw(index % len(data), 0, index % len(data))]
            terms = dict(model([example], pictures=True))
            color, depth = terms.pop("color")[0], terms.pop("depth")[0]
            if index >= len(data):
                continue
            result.count += 1
            for name, value in terms.items():
                result.figures[name] = result.figures.get(name, 0.0) + float(value)
            if len(drawn) < PICTURED:
                drawn.append(comparison(color, depth, _color(example.targets)))
        result.figures = {name: total / result.count for name, total in result.figures.items()}
        result.picture = torch.cat(drawn) if drawn else None
        return result

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write them with the decoder's configuration, as `sample.py` reads them."""
        with without_memory():
            network = LatentRecon(self.config.decoder)
        network.load_state_dict(weights, assign=True)
        save_decoder(network, folder)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Those of our folder or of a published file; see `load_decoder` for errors."""
        return dict(load_decoder(path, self.config.decoder).state_dict())


def _color(targets: Targets) -> Float[Tensor, "target 3 h w"]:
    assert targets.color is not None, "targets without pictures"
    return unit_color(targets.color)


def _depths(targets: list[Targets]) -> Float[Tensor, "scene target h w"] | None:
    depths = [target.depth for target in targets if target.depth is not None]
    return torch.stack(depths) if depths else None


def _lpips_folder(config: DecoderTrainConfig) -> Path | None:
    return lpips_folder(config.loss.lpips, "lambda_lpips", config.checkpoint_dir)


def _perceptual(config: DecoderTrainConfig, device: torch.device) -> Perceptual | None:
    """LPIPS, a few frames at a time; None where its weight is 0."""
    folder = _lpips_folder(config)
    if folder is None:
        return None
    network = load_lpips(folder, device)

    def perceptual(
        ours: Float[Tensor, "frame 3 h w"], theirs: Float[Tensor, "frame 3 h w"]
    ) -> Float[Tensor, " frame"]:
        pairs = zip(ours.split(config.lpips_chunk), theirs.split(config.lpips_chunk), strict=True)
        # Its activations are those of a VGG16 at full size: they are computed again.
        return torch.cat([checkpoint(network, *pair, use_reentrant=False) for pair in pairs])

    return perceptual
