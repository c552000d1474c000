import csv

import pytest
import torch

from nano.evaluation.checks import all_checks
from nano.evaluation.made import Ledger, Summary, roughness
from src.evaluation.metrics import ClipErrors


def errors(*squared: float) -> ClipErrors:
    values = torch.tensor(squared, dtype=torch.float64)
    return ClipErrors(values, torch.ones_like(values))


def test_figures_and_table() -> None:
    """Would catch clips counted for another seed, and means over seeds instead of clips."""
    ledger = Ledger()
    ledger.add("a.b", (5, 7), errors(0.1, 0.01, 0.001, 0.0001))
    ledger.add("a.b", (5,), errors(0.01))
    ledger.add_values("depth.x", (5, 7), torch.tensor([1.0, 4.0]))
    figures = ledger.figures()
    assert figures["a.b"]["psnr"] == pytest.approx((10 + 20 + 30 + 40 + 20) / 5)
    assert figures["a.b"]["clips"] == 5
    assert figures["depth.x"] == {"mean": 2.5, "median": 2.5, "count": 2}
    rows = list(csv.reader(ledger.table().splitlines()))
    assert rows[1:] == [
        ["a.b", "5", "16.6667"],
        ["a.b", "7", "35.0000"],
        ["depth.x", "5", "1.0000"],
        ["depth.x", "7", "4.0000"],
    ]


def test_checks() -> None:
    """Would catch a margin with the wrong sign, and what was not measured taken for reached."""
    figures: dict[str, Summary] = {
        "ceiling.visible": {"psnr": 30.0},
        "generator.true.visible": {"psnr": 28.6},
        "nearest.true.hidden": {"psnr": 15.0},
        "generator.true.hidden": {"psnr": 18.4},
        "static.ends.true": {"psnr": 24.0},
        "static.opacity.true": {"mean": 0.2, "median": 0.05, "count": 2},
        "dynamic.time_8.true": {"psnr": 22.4},
    }
    reached = {check.what: check.reached for check in all_checks(figures)}
    assert reached["tokenizer"] is None
    assert reached["generated clips, visible pixels: 1.5 dB below the tokenizer's ceiling"]
    assert not reached["generated clips, hidden pixels: 3.5 dB above the nearest pixel"]
    assert reached["median opacity of the Gaussians (a share)"]
    assert reached["moving scenes at time 8: 1.5 dB below still ones"] is False


def test_roughness_is_that_of_chosen_pixels() -> None:
    """A sum over all pixels, over clips, or of values that cancel."""
    video, chosen = torch.zeros(2, 3, 4, 7, 9), torch.zeros(2, 4, 7, 9, dtype=torch.bool)
    video[1, 2, 3, 3, 4] = 0.5
    chosen[:, :, 3, 4] = True
    assert roughness(video, chosen).tolist() == [0.0, 2.0]
    assert roughness(video, torch.ones_like(chosen)).tolist() == [0.0, 4.0]
