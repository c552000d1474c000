"""The common part of still and moving worlds: generated clips, their errors, contact sheets."""

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.scenes.scene import Scene
from src.evaluation.hole_filling import fill_nearest
from src.evaluation.metrics import ClipErrors, channel_errors, clip_errors
from src.geometry.cameras import Cameras
from src.io.image import round_to_uint8, write_png
from src.visualization import contact_sheet

from ..clips.networks import Networks, Video
from ..seeds import TEST
from .inputs import Group, Mask

# The columns of each sheet.
COLUMNS = {
    "tokenizer": ("world", "coded") * 2,
    "depth": ("input", "estimated depth", "true depth") * 2,
    "generator": ("world", "warp", "holes filled", "generated"),
    "static": ("input", "world", "Gaussians", "unprojected input"),
    "dynamic": ("world, first frame", "middle", "last", "Gaussians, first frame", "middle", "last"),
}


@dataclass
class Sheets:
    """The pictures of the first `most` worlds of each sheet."""

    most: int
    _pictures: dict[str, list[Tensor]] = field(default_factory=dict)
    _worlds: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, paths: int, parts: Sequence[Video]) -> None:
        """Add one trajectory of each world: a row with all frames of its clip in each of `parts`.

        The trajectory changes from world to world. The last of the `paths` trajectories of a world
        is left out: a circle ends where it began.
        """
        before, turns = self._worlds.get(name, 0), max(paths - 1, 1)
        worlds = max(min(len(parts[0]) // paths, self.most - before), 0)
        self._worlds[name] = before + worlds
        for world in range(worlds):
            clip = world * paths + (before + world) % turns
            pictures = [picture.cpu() for part in parts for picture in part[clip].unbind(1)]
            self._pictures.setdefault(name, []).extend(pictures)

    def write(self, folder: Path) -> dict[str, str]:
        """Write `<name>.png` for every sheet that has pictures; returns the legends."""
        legends = {}
        for name, pictures in self._pictures.items():
            stack = round_to_uint8(torch.stack(pictures)).movedim(1, -1)
            write_png(folder / f"{name}.png", contact_sheet(stack, len(COLUMNS[name])))
            legends[name] = " | ".join(COLUMNS[name])
        return legends


Summary = dict[str, float | int | None]
HEADER = ("figure", "seed", "value")


@dataclass
class Ledger:
    """Errors of clips and plain values, each under a dotted name with the seed of its world."""

    _errors: dict[str, list[ClipErrors]] = field(default_factory=dict)
    _values: dict[str, list[float]] = field(default_factory=dict)
    _seeds: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, seeds: Sequence[int], errors: ClipErrors) -> None:
        """Add the errors of clips: equally many of each seed, in the order of the seeds."""
        each = len(errors.count) // len(seeds)
        self._seeds.setdefault(name, []).extend(s for s in seeds for _ in range(each))
        self._errors.setdefault(name, []).append(errors)

    def add_values(self, name: str, seeds: Sequence[int], values: Float[Tensor, " seed"]) -> None:
        """Add one number for each seed."""
        self._seeds.setdefault(name, []).extend(seeds)
        self._values.setdefault(name, []).extend(values.tolist())

    def figures(self) -> dict[str, Summary]:
        """Returns the summary of each name."""
        found: dict[str, Summary] = {
            name: ClipErrors.concatenate(parts).summary() for name, parts in self._errors.items()
        }
        for name, values in self._values.items():
            middle = statistics.median(values)
            found[name] = {"mean": statistics.fmean(values), "median": middle, "count": len(values)}
        return found

    def table(self) -> str:
        """Returns a CSV table: a line for each name and seed, PSNR as the mean over its clips."""
        numbers = {
            name: ClipErrors.concatenate(parts).psnr() for name, parts in self._errors.items()
        }
        numbers |= {name: torch.tensor(values) for name, values in self._values.items()}
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, values in numbers.items():
            seeds = torch.tensor(self._seeds[name])
            for seed in seeds.unique().tolist():
                chosen = values[seeds == seed]
                chosen = chosen[chosen.isfinite()]
                value = f"{chosen.mean().item():.4f}" if len(chosen) else ""
                writer.writerow((name, seed, value))
        return file.getvalue()


PARTS = ("tokenizer", "depth", "generator", "static", "dynamic")
# The order in which the demo configurations give the trajectories to the decoder.
ORDER = (5, 0, 1, 2, 3, 4)
# The depth of the input: that of the world, or the estimate of the small network.
SOURCES = ("true", "nano")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One evaluation.

    Attributes:
        nano: checkpoint folder of the small weights.
        output: receives evaluation.json, seeds.csv and the sheets.
        what: some of `PARTS`.
        seeds: number of worlds of each kind.
        frames: length of each clip.
        size: height and width; multiples of 16.
        stride: step between the frames that are rendered, besides the farthest ones.
        sources: some of `SOURCES`.
        decoders: other decoders than those of `nano`, by `static` and `dynamic`.
        generator: another generator than that of `nano`.
        num_steps: of the sampling; None: as the generator's configuration says.
        trajectories: input of the decoder, in this order.
        pictured: number of worlds on the sheets.
        minutes: start no more worlds after so long; None: no limit.
    """

    nano: Path
    output: Path
    what: tuple[str, ...] = PARTS
    seeds: int = 64
    frames: int = 17
    size: tuple[int, int] = (256, 448)
    stride: int = 4
    sources: tuple[str, ...] = SOURCES
    decoders: dict[str, Path] = field(default_factory=dict)
    generator: Path | None = None
    num_steps: int | None = None
    trajectories: tuple[int, ...] = ORDER
    pictured: int = 6
    minutes: float | None = None

    def worlds(self, dynamic: bool) -> range:
        """The seeds of the worlds: test seeds, which nothing was trained or chosen on."""
        return TEST.seeds(self.seeds, dynamic)

    def jsonable(self) -> dict[str, object]:
        """Returns all settings as JSON values, paths with forward slashes."""
        return {
            **asdict(self),
            "nano": self.nano.as_posix(),
            "output": self.output.as_posix(),
            "decoders": {name: path.as_posix() for name, path in self.decoders.items()},
            "generator": self.generator.as_posix() if self.generator else None,
        }

    def wants(self, *parts: str) -> bool:
        """Whether any of `parts` is asked for."""
        return any(part in self.what for part in parts)


# Exact pictures: frames, or moments.
Truth: TypeAlias = Float[Tensor, "clip 3 moment h w"]


@dataclass(frozen=True, kw_only=True)
class MadeScene:
    """The clips of one world that start from one source of depth, and the exact pictures.

    `truth` are the frames of the same clips, or for a moving world the moments from their ends.
    """

    seed: int
    source: str
    scene: Scene
    cameras: Cameras
    latents: Float[Tensor, "clip c latent_frame lh lw"]
    generated: Video
    truth: Truth


def roughness(video: Video, chosen: Mask) -> Float[Tensor, " clip"]:
    """Returns the sum of the sizes of the Laplacian (4 neighbours) over chosen inner pixels."""
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], device=video.device)
    flat = video.movedim(1, 2).flatten(0, 2)[:, None]
    size = F.conv2d(flat, kernel[None, None])[:, 0].abs().unflatten(0, (len(video), -1, 3))
    return (size * chosen[:, :, None, 1:-1, 1:-1]).sum(dim=(1, 2, 3, 4))


class Evaluation:
    """Evaluates worlds of one kind, group by group: figures to `ledger`, pictures to `sheets`."""

    def __init__(
        self, settings: Settings, networks: Networks, ledger: Ledger, sheets: Sheets
    ) -> None:
        self.settings, self.networks = settings, networks
        self.ledger, self.sheets = ledger, sheets

    def generate(
        self, exact: Group, source: str, moving: bool, truths: Sequence[Truth]
    ) -> Iterator[MadeScene]:
        """Generate the clips that start from one source of depth, and keep their errors.

        Yields the worlds for which `truths` has exact pictures.
        """
        group = exact.estimated(self.networks.depth) if source == "nano" else exact
        latents = self.networks.generate(group.starts)
        video = self.networks.decode(latents)
        if self.settings.wants("generator"):
            warps, truth = group.starts.image, group.truth
            filled = fill_nearest((warps + 1) / 2, group.starts.mask).transpose(1, 2)
            for name, clips in (("generator", video), ("nearest", filled)):
                full = f"{'moving_' * moving}{name}.{source}"
                self.record_clips(full, group.pool.seeds, (clips, truth), exact.visible)
            name = f"{'moving_' * moving}generator.{source}"
            self.record_detail(name, group.pool.seeds, (video, truth), ~exact.visible)
            if source == "true" and not moving:
                shown = (truth, (warps.transpose(1, 2) + 1) / 2, filled, video)
                self.sheets.add("generator", group.paths, [part[:, :, -1:] for part in shown])
        for world, truth in enumerate(truths):
            own = group.clips(world)
            yield MadeScene(
                seed=group.pool.seeds[world],
                source=source,
                scene=group.scenes[world],
                cameras=group.cameras(world),
                latents=latents[own],
                generated=video[own],
                truth=truth,
            )

    def record_tokenizer(self, kind: str, seeds: Sequence[int], coded: Video, truth: Video) -> None:
        """Keep the errors of coded clips, in RGB, luma and chroma."""
        self.ledger.add(f"tokenizer.{kind}.rgb", seeds, clip_errors(coded, truth))
        for name, errors in channel_errors(coded, truth).items():
            self.ledger.add(f"tokenizer.{kind}.{name}", seeds, errors)

    def record_detail(
        self, name: str, seeds: Sequence[int], pair: tuple[Video, Video], hidden: Mask
    ) -> None:
        """Keep how rough the hidden pixels of each world's clips are, as a share of the truth.

        Below 1 they are softer, which a PSNR rewards where many answers are right.
        """
        ours, theirs = (
            roughness(video[:, :, 1:], hidden[:, 1:]).unflatten(0, (len(seeds), -1)).sum(dim=1)
            for video in pair
        )
        self.ledger.add_values(f"detail.{name}", seeds, (ours + 1e-6) / (theirs + 1e-6))

    def record_clips(
        self, name: str, seeds: Sequence[int], pair: tuple[Video, Video], visible: Mask
    ) -> None:
        """Keep the errors of clips: of all, visible and hidden pixels, and of the last frame.

        `pair` is the clips and the truth, `visible` the pixels that the input shows. The first
        frame is left out: it is given to the generator.
        """
        ours, theirs, seen = pair[0][:, :, 1:], pair[1][:, :, 1:], visible[:, 1:]
        self.ledger.add(f"{name}.all", seeds, clip_errors(ours, theirs))
        self.ledger.add(f"{name}.visible", seeds, clip_errors(ours, theirs, seen))
        self.ledger.add(f"{name}.hidden", seeds, clip_errors(ours, theirs, ~seen))
        self.ledger.add(f"{name}.last", seeds, clip_errors(ours[:, :, -1:], theirs[:, :, -1:]))

    def record(
        self, made: MadeScene, name: str, pair: tuple[Video, Video], mask: Mask | None = None
    ) -> None:
        """Keep the errors of the clips of a scene."""
        self.ledger.add(f"{name}.{made.source}", (made.seed,), clip_errors(pair[0], pair[1], mask))
