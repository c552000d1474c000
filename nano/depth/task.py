"""The depth network's task: single frames in; log depth, known pixels and focal length out."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from src.depth.backends.nano import NanoDepth, NanoPrediction, load_nano_depth, save_nano_depth
from src.io.image import round_to_uint8
from src.runtime import InputError, can_compile, without_memory
from src.training.task import Model, Objective, Progress, Share, Stopwatch, Validation, joined
from src.visualization import colorize_depth, contact_sheet

from .augment import add_borders, change_colors, seen_part, whole_part
from .config import DepthTrainConfig
from .data import FramePool, clip_frames, world_frames
from .losses import DepthSamples, depth_figures, depth_network_loss

# Validation pictures on the sheet, and those that the network sees at once.
PICTURED, AT_ONCE = 8, 16


class DepthObjective(Objective):
    """The network and its loss."""

    network: NanoDepth

    def __init__(self, network: NanoDepth, config: DepthTrainConfig, clock: Stopwatch) -> None:
        """Train `network`, compiled if configured and possible."""
        super().__init__()
        self.network, self.config, self.clock = network, config, clock
        # The method is compiled, not the module, whose weights would get other names.
        self._run: Callable[..., NanoPrediction] = network.forward
        device = next(network.parameters()).device
        if config.compile and can_compile(device, NanoDepth.forward):
            self._run = torch.compile(network.forward, dynamic=False)

    def forward(self, batch: DepthSamples, predict: bool = False) -> Mapping[str, Tensor]:
        """The loss and its terms, or with `predict` the fields of the network's prediction."""
        if predict:
            return {name: part.float() for name, part in vars(self.network(batch.image)).items()}
        with self.clock("network"):
            prediction = self._run(batch.image)
        with self.clock("loss"), torch.autocast(batch.image.device.type, enabled=False):
            return depth_network_loss(prediction, batch, self.config.loss)


class DepthBatches:
    """Endless batches of augmented frames; batch n depends on settings, n and rank alone."""

    def __init__(self, pool: FramePool, config: DepthTrainConfig, share: Share) -> None:
        """Draw from `pool`."""
        self.pool, self.config, self.position = pool, config, share.position
        self.rank, self.size = share.rank, (config.network.height, config.network.width)

    def __iter__(self) -> Generator[DepthSamples, None, None]:
        while True:
            self.position += 1
            yield self.batch(self.position - 1)

    @torch.no_grad()
    def batch(self, position: int) -> DepthSamples:
        """The batch of this number."""
        config = self.config
        draws = np.random.default_rng([config.data.seed, position, self.rank])
        indices = draws.integers(len(self.pool), size=config.loop.batch_size)
        generator = torch.Generator(self.pool.color.device)
        generator.manual_seed(int(draws.integers(2**62)))
        samples = take(self.pool, indices.tolist())
        samples = seen_part(samples, self.size, config.augment, generator)
        image = change_colors(samples.image, config.augment.photometric, generator)
        return add_borders(replace(samples, image=image), config.augment.borders, generator)


class DepthTask:
    """Trains the network that `--depth nano` uses."""

    def __init__(self, config: DepthTrainConfig) -> None:
        """Keep the settings; `batches` reads or renders the frames."""
        self.config = config
        self.root = None if config.data.root is None else Path(config.data.root)
        self.device = torch.device("cpu")
        self._held_out: FramePool | None = None

    def prepare(self) -> None:
        """See `Task.prepare`; there is nothing to do, since frames are kept in memory."""

    def build(self, device: torch.device, clock: Stopwatch) -> DepthObjective:
        """The objective with a new network."""
        self.device = device
        network = NanoDepth(self.config.network).to(device)
        return DepthObjective(network, self.config, clock)

    def batches(self, share: Share, progress: Progress) -> DepthBatches:
        """Augmented frames; processes have different worlds or clips."""
        return DepthBatches(self._frames(share, held_out=False), self.config, share)

    def keys(self, batch: DepthSamples) -> list[str]:
        """The world or clip of each picture, and its frame."""
        return batch.names

    def validate(self, model: Model, share: Share) -> Validation:
        """Figures of held-out frames, and a sheet of pictures, predicted and true depth."""
        if self.config.data.held_out == 0:
            return Validation()
        if self._held_out is None:
            # Each process keeps all of them: they are few, and all call the model equally often.
            self._held_out = self._frames(Share(), held_out=True)
        pool, size = self._held_out, (self.config.network.height, self.config.network.width)
        parts: list[Validation] = []
        drawn = []
        step = AT_ONCE * share.world_size
        for first in range(0, len(pool), step):
            begin = first + AT_ONCE * share.rank
            indices = range(begin, min(begin + AT_ONCE, len(pool)))
            samples = whole_part(take(pool, [*indices] or [0]), size)
            prediction = NanoPrediction(**model(samples, predict=True))
            if not indices:
                continue
            # Pictures without known depth, such as sky alone, have no figures.
            known = int(samples.known.flatten(1).any(dim=1).sum())
            parts.append(Validation(known, depth_figures(prediction, samples)))
            drawn += [draw_sample(prediction, samples, i) for i in range(len(indices))]
        return replace(joined(parts), picture=_sheet(drawn))

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write weights as `--depth nano` reads them."""
        with without_memory():
            network = NanoDepth(self.config.network)
        network.load_state_dict(weights, assign=True)
        save_nano_depth(network, folder)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Reads weights of the configured network; raises as `load_nano_depth`."""
        network = load_nano_depth(path)
        if network.config != self.config.network:
            raise InputError(path, network.config, str(self.config.network))
        return dict(network.state_dict())

    def _frames(self, share: Share, held_out: bool) -> FramePool:
        read = world_frames if self.root is None else partial(clip_frames, self.root)
        return read(self.config.data, share, self.device, held_out=held_out)


def take(pool: FramePool, indices: list[int]) -> DepthSamples:
    """Samples of a pool's frames, without augmentation."""
    at = torch.tensor(indices, device=pool.color.device)
    diagonal = float(np.hypot(pool.depth.shape[1], pool.depth.shape[2]))
    return DepthSamples(
        image=pool.color[at].float() / 255,
        depth=pool.depth[at].float(),
        log_focal=(pool.focal[at] / diagonal).log(),
        names=[pool.names[index] for index in indices],
    )


def draw_sample(
    prediction: NanoPrediction, samples: DepthSamples, index: int
) -> UInt8[Tensor, "3 h w 3"]:
    """A picture, its predicted and its true depth, on one colour scale; unknown depth is black."""
    known = samples.known[index].cpu()
    truth, depth = samples.depth[index].cpu(), prediction.log_depth[index].float().exp().cpu()
    if known.any():
        # Both get one scale, so that the sheet compares shapes.
        depth = depth * (truth[known].median() / depth[known].median())
    # Logarithms leave more colours to near things.
    depth, truth = depth.log(), truth.log()
    values = truth[known] if known.any() else depth
    limits = (float(values.min()), float(values.max()))
    claimed = (prediction.mask_logit[index] > 0).cpu()
    shown = [
        colorize_depth(part[None], limits)[0] * there[..., None]
        for part, there in ((depth, claimed), (truth, known))
    ]
    picture = round_to_uint8(samples.image[index].cpu()).movedim(0, -1)
    return torch.stack([picture, *shown])


def _sheet(drawn: list[UInt8[Tensor, "3 h w 3"]]) -> UInt8[Tensor, "sheet_h sheet_w 3"] | None:
    """Evenly chosen samples, a row each."""
    if not drawn:
        return None
    chosen = np.unique(np.linspace(0, len(drawn) - 1, PICTURED).round().astype(int)).tolist()
    return contact_sheet(torch.cat([drawn[index] for index in chosen]), columns=3)
