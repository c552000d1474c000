"""The decoder's task: Gaussians from clips, trained by comparing rendered and given frames.

A scene is encoded (pictures on the fly, or latents from disk; Pluecker maps and times always),
decoded to Gaussians, rendered from the cameras of its targets and compared with their frames.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...evaluation.metrics import load_lpips
from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...io.image import round_to_uint8
from ...models.data.dataset import ExampleDraw
from ...models.data.example import Example, Targets, unit_color
from ...models.data.loader import ExampleLoader
from ...models.data.mixture import SceneSet
from ...models.recon.decoder import Decoded, LatentRecon, load_decoder, save_decoder
from ...models.recon.scene_decoder import SceneDecoder, floating_type
from ...rendering.options import Render
from ...rendering.rasterize import rasterize_deferred, rasterize_scenes
from ...runtime import InputError, without_memory
from ...tokenizer.loading import load_tokenizer
from ...visualization import colorize_depth, contact_sheet
from ..settings import lpips_folder
from ..task import Model, Objective, Progress, Share, Stopwatch, Validation, joined
from .config import DecoderTrainConfig
from .data import make_clips, open_data, tokenizer_folder
from .losses import Perceptual, Supervision, decoder_loss

# Scenes of a validation that are drawn, frames of each, and the largest width of a frame.
PICTURED, FRAMES, WIDTH = 4, 4, 320


class DecoderObjective(Objective):
    """The decoder between its frozen tokenizer and the renderer."""

    # Embeddings of the inputs, and the head of the Gaussians.
    outer = ("patch_", "deconv.")
    network: LatentRecon

    def __init__(
        self,
        scenes: SceneDecoder,
        config: DecoderTrainConfig,
        perceptual: Perceptual | None,
        clock: Stopwatch,
    ) -> None:
        """Train the network of `scenes`; parts that the settings leave unused are frozen."""
        super().__init__()
        self.network = scenes.model
        # Not a module: the tokenizer must not become a submodule.
        self.scenes = scenes
        self.config, self.perceptual, self.clock = config, perceptual, clock
        for part in (self.network.patch_time_embed, self.network.patch_time_embed_tgt):
            part.requires_grad_(config.decoder.use_time)

    def forward(self, batch: list[Example], pictures: bool = False) -> Mapping[str, Tensor]:
        """Returns the loss, its terms and the PSNR in dB, means over the scenes.

        All scenes of a batch have the same number of trajectories, frames and targets. With
        `pictures` it also returns the rendered `color` and `depth` of all targets, and the median
        opacity of the Gaussians.
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
        mse = terms["mse"].detach()
        figures = {"loss": terms["loss"], "mse": mse, "psnr": -10 * torch.log10(mse)}
        for name in ("lpips", "depth", "opacity", "solid"):
            figures[f"loss_{name}"] = terms[name].detach()
        if not pictures:
            return figures
        figures["opacity_median"] = decoded.gaussians.opacities.detach().float().median()
        return {**figures, "color": color, "depth": depth}

    def _decode(self, batch: list[Example]) -> Decoded:
        """Returns the Gaussians of all scenes of a batch."""
        times = None
        with self.clock("encode"), torch.autocast(self.scenes.device.type, enabled=False):
            seen = self.scenes.batch_conditions(batch)
            if self.config.decoder.use_time:
                times = self.scenes.times(seen, [example.target_time for example in batch])
        with self.clock("decode"):
            return self.network(
                seen.latents, seen.pluecker, seen.origins, seen.directions, time=times
            )

    def _render(self, gaussians: Gaussians, targets: list[Targets], depth: bool) -> Render:
        """Renders the targets of all scenes; with depth if it is asked for or the loss needs it."""
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
    """Stages 1 to 9 of the decoder, which differ only in the configuration."""

    def __init__(self, config: DecoderTrainConfig) -> None:
        """Check the settings; raises `InputError` for a loss without its inputs."""
        if config.loss.depth and not config.reading.depth:
            expected = "true, and clips with depth (scripts/add_depth.py); or lambda_depth=0"
            raise InputError("use_depth", False, expected)
        if not config.reading.color:
            raise InputError("reading.color", False, "true: training compares with the targets")
        self.config = config
        self._data: tuple[SceneSet, SceneSet | None] | None = None

    def prepare(self) -> None:
        """Write clips of worlds if no others are given; see `Task.prepare`.

        Raises `InputError` if the weights of LPIPS are missing.
        """
        _lpips_folder(self.config)
        make_clips(self.config)

    def build(self, device: torch.device, clock: Stopwatch) -> DecoderObjective:
        """Returns the objective with a new decoder; checks the data first."""
        self._data = open_data(self.config)
        network = LatentRecon(self.config.decoder).to(device)
        dtype = floating_type("auto", device)
        tokenizer = load_tokenizer(tokenizer_folder(self.config), device, dtype)
        perceptual = _perceptual(self.config, device)
        kept = int(self.config.pluecker_cache_gib * 2**30)
        scenes = SceneDecoder(network, tokenizer, kept)
        return DecoderObjective(scenes, self.config, perceptual=perceptual, clock=clock)

    def batches(self, share: Share, progress: Progress) -> ExampleLoader:
        """Returns the training scenes, a disjoint part for each process."""
        assert self._data is not None, "batches before build"
        loop = self.config.loop
        return ExampleLoader(
            self._data[0],
            loop.batch_size,
            loop.workers,
            rank=share.rank,
            world_size=share.world_size,
            position=share.position,
        )

    def keys(self, batch: list[Example]) -> list[str]:
        """Returns the keys of the scenes with their drawn trajectories and targets."""
        return [
            f"{example.key}: trajectories {list(example.trajectories)},"
            f" targets {example.targets.frame.tolist()}"
            for example in batch
        ]

    def validate(self, model: Model, share: Share) -> Validation:
        """Returns means over the held-out scenes, with the same draws each time, and pictures."""
        data = self._data[1] if self._data is not None else None
        if data is None:
            return Validation()
        parts: list[Validation] = []
        for index, counts in share.turns(len(data)):
            example = data[ExampleDraw(index, 0, index)]
            terms = dict(model([example], pictures=True))
            color, depth = terms.pop("color")[0], terms.pop("depth")[0]
            if counts:
                drawn = len(parts) < PICTURED
                sheet = _comparison(color, depth, _color(example.targets)) if drawn else None
                figures = {name: float(value) for name, value in terms.items()}
                parts.append(Validation(1, figures, sheet))
        return joined(parts)

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the weights with the decoder's configuration, as `sample.py` reads them."""
        with without_memory():
            network = LatentRecon(self.config.decoder)
        network.load_state_dict(weights, assign=True)
        save_decoder(network, folder)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Reads our folder or a published file; raises as `load_decoder`."""
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
    """Returns LPIPS of a few frames at a time; None if its weight is 0."""
    folder = _lpips_folder(config)
    if folder is None:
        return None
    network = load_lpips(folder, device)

    def perceptual(
        ours: Float[Tensor, "frame 3 h w"], theirs: Float[Tensor, "frame 3 h w"]
    ) -> Float[Tensor, " frame"]:
        chunk = config.lpips_chunk
        pairs = zip(ours.split(chunk), theirs.split(chunk), strict=True)
        # The activations of a VGG16 at full size are recomputed in the backward pass.
        return torch.cat([checkpoint(network, a, b, use_reentrant=False) for a, b in pairs])

    return perceptual


def _comparison(
    color: Float[Tensor, "frame 3 h w"],
    depth: Float[Tensor, "frame h w"],
    reference: Float[Tensor, "frame 3 h w"],
) -> UInt8[Tensor, "sheet_h sheet_w 3"]:
    """Returns a sheet: rendered frames, reference frames, rendered depth; at most four each."""
    chosen = torch.linspace(0, len(color) - 1, min(FRAMES, len(color))).round().long()
    drawn = colorize_depth(depth.cpu()[chosen]).movedim(-1, 1).float() / 255
    rows = torch.stack([color.cpu()[chosen], reference.cpu()[chosen], drawn])
    # All sheets have the same width, so that they can be stacked.
    rows = F.pad(rows, (0, 0, 0, 0, 0, 0, 0, FRAMES - len(chosen)), value=1.0).flatten(0, 1)
    if rows.shape[-1] > WIDTH:
        scale = WIDTH / rows.shape[-1]
        rows = F.interpolate(rows, scale_factor=scale, mode="area")
    pictures = round_to_uint8(rows).movedim(1, -1)
    return contact_sheet(pictures, columns=FRAMES)
