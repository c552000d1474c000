"""A ledger of errors by name and seed, with its summaries and its table."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from src.evaluation.metrics import ClipErrors

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
