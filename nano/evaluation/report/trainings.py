"""Steps, minutes, figures and curves of trainings, from their journals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from src.training.loop.journal import JOURNAL, read_journal
from src.visualization import plot_curve

from .tables import markdown

# Trainings in the order in which they build on each other.
STAGES = "3dgs_res_"
ORDER = (
    *("tokenizer", "depth", "generator"),
    *(f"{STAGES}{size}" for size in ("176_320_views_17", "176_320_views_49", "352_640_views_49")),
    *(f"{STAGES}704_1280_views_{rest}" for rest in ("49", "121", "121_multi_6")),
    *(f"{STAGES}704_1280_views_121_multi_6_{rest}" for rest in ("prune", "dynamic")),
    f"{STAGES}704_1280_views_121_multi_6_dynamic_prune",
)
# Prefixes of the held-out figures in the table: no losses, no baselines.
FIGURES = ("psnr", "gain", "absrel", "delta", "focal", "mask")
# Points of a curve, each the mean of its part of the run.
POINTS = 60
# The first of these that a journal has is drawn.
DRAWN = {"psnr": "PSNR in dB", "loss": "loss"}


@dataclass(frozen=True)
class Training:
    """One run: its folder below that of all runs, and the lines of its journal."""

    name: str
    records: list[dict[str, float]]

    @property
    def steps(self) -> int:
        """The number of the last step."""
        return int(max(record["step"] for record in self.records))

    @property
    def minutes(self) -> float:
        """The time of its steps, without validation and start."""
        seconds, before = 0.0, 0.0
        for record in self.records:
            if "seconds_step" in record:
                before = before or record["step"] - 1
                # A line covers all steps since the line before.
                seconds += record["seconds_step"] * (record["step"] - before)
                before = record["step"]
        return seconds / 60

    def latest(self) -> dict[str, float]:
        """Returns the last value of each held-out figure of `FIGURES`."""
        found: dict[str, float] = {}
        for record in self.records:
            found |= {k: v for k, v in record.items() if k.startswith("validation_")}
        named = {name.removeprefix("validation_"): value for name, value in found.items()}
        return {name: value for name, value in named.items() if name.startswith(FIGURES)}

    def curve(self) -> UInt8[Tensor, "h w 3"] | None:
        """Returns the curve of the loss (or of PSNR) over the run."""
        for key, words in DRAWN.items():
            pairs = [(r["step"], r[key]) for r in self.records if key in r]
            if len(pairs) < 2:
                continue
            values = torch.tensor([value for _, value in pairs])
            parts = values.tensor_split(min(POINTS, len(values)))
            means = [part.mean().item() for part in parts]
            spread = [part.std(correction=0).item() for part in parts]
            steps = f"steps {pairs[0][0]:.0f} to {pairs[-1][0]:.0f}"
            title, x = f"{self.name}: {words}", f"of {len(parts)} parts of the run"
            return plot_curve(means, spread, title=title, subtitle=steps, x=x)
        return None


def find_trainings(folder: Path) -> list[Training]:
    """Returns the runs in a folder, in the order of `ORDER`."""
    names = [path.parent.name for path in folder.glob(f"*/{JOURNAL}")]
    found = (Training(name, read_journal(folder / name)) for name in sorted(names, key=_place))
    return [training for training in found if training.records]


def parts_table(path: Path) -> str:
    """Returns the minutes of each part, from the lines `PART: N s` of `nano.py train`."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    seconds: dict[str, int] = {}
    for line in lines:
        name, taken = line.removesuffix(" s").split(": ")
        # A part has a line for each call.
        seconds[name] = seconds.get(name, 0) + int(taken)
    rows = [[name, f"{taken / 60:.1f}"] for name, taken in seconds.items()]
    return markdown(("part", "minutes of the machine"), rows) if rows else ""


def trainings_table(trainings: Sequence[Training]) -> str:
    """Returns steps, minutes and last held-out figures of each run, and the sum of minutes."""
    rows = []
    for run in trainings:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in run.latest().items())
        rows.append([run.name, f"{run.steps}", f"{run.minutes:.1f}", figures or "–"])
    total = sum(run.minutes for run in trainings)
    rows.append(["all", "", f"{total:.1f}", ""])
    return markdown(("training", "last step", "GPU minutes", "held-out figures at the end"), rows)


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
