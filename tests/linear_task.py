"""A training task of the smallest size: a linear map fitted to points, with random noise."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.runtime import InputError
from src.training.checkpoints.files import list_checkpoints
from src.training.loop.journal import read_journal
from src.training.settings import LoopConfig
from src.training.task import Model, Objective, Progress, Share, Stopwatch, Validation

WEIGHTS = "weights.safetensors"


@dataclass
class Points:
    """Batch `n` holds the points of seed `n`."""

    size: int
    share: Share
    position: int

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            first = (self.position * self.share.world_size + self.share.rank) * self.size
            self.position += 1
            yield list(range(first, first + self.size))


class LinearObjective(Objective):
    """Mean square error of a linear map with a norm and a bias."""

    def __init__(self, clock: Stopwatch, noise: float, bad: int | None) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
        self.clock, self.noise, self.bad = clock, noise, bad

    def forward(self, batch: list[int]) -> dict[str, Tensor]:
        errors = []
        for key in batch:
            x = torch.randn(3, generator=torch.Generator().manual_seed(key))
            wanted = x.sum() + self.noise * torch.randn(())
            error = (self.network(x)[0] - wanted) ** 2
            errors.append(error * torch.nan if key == self.bad else error)
        loss = torch.stack(errors).mean()
        return {"loss": loss, "half": loss / 2}


@dataclass
class LinearTask:
    """Fits a linear map; sample `bad` has no finite error."""

    size: int = 2
    noise: float = 0.1
    bad: int | None = None
    validations: list[float] = field(default_factory=list)

    def prepare(self) -> None:
        pass

    def build(self, device: torch.device, clock: Stopwatch) -> Objective:
        return LinearObjective(clock, self.noise, self.bad).to(device)

    def batches(self, share: Share, progress: Progress) -> Points:
        return Points(self.size, share, share.position)

    def keys(self, batch: list[int]) -> list[str]:
        return [str(key) for key in batch]

    def validate(self, model: Model, share: Share) -> Validation:
        loss = float(model([1000, 1001])["loss"])
        self.validations.append(loss)
        return Validation(2, {"loss": loss}, torch.zeros(8, 8, 3, dtype=torch.uint8))

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        save_file(weights, folder / WEIGHTS)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        try:
            return load_file(path / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise InputError(path / WEIGHTS, error, "weights") from error


def losses(folder: str) -> list[float]:
    """The loss of every step of a run."""
    return [record["loss"] for record in read_journal(Path(folder)) if "loss" in record]


def steps(folder: str) -> list[str]:
    """The checkpoints of a run, earliest first."""
    return [path.name for path in list_checkpoints(Path(folder))]


def elsewhere(loop: LoopConfig, name: str, **changes: object) -> LoopConfig:
    """The same settings with another output folder beside it, and other changes."""
    return replace(loop, output_dir=str(Path(loop.output_dir).parent / name), **changes)
