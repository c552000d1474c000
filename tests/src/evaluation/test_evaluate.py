"""A whole evaluation: what is written, and what a second run computes again."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from src.evaluation import evaluate as module
from src.evaluation.compare import CompareOptions, Comparison, Measures, measure
from src.evaluation.evaluate import EvaluationConfig, evaluate
from src.runtime import InputError


@pytest.fixture
def config(save_frames, tmp_path: Path) -> EvaluationConfig:
    """Two videos, one of them with an identical frame, as folders of frames."""
    for name in ("one", "two"):
        frames = torch.randint(0, 256, (2, 12, 14, 3), dtype=torch.uint8)
        save_frames(tmp_path / "a" / name, frames)
        save_frames(tmp_path / "b" / name, torch.stack((frames[0], 255 - frames[1])))
    return EvaluationConfig(
        prediction=tmp_path / "a",
        reference=tmp_path / "b",
        out=tmp_path / "out",
        metrics=("psnr",),
        lpips_folder=tmp_path / "weights",
    )


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos and metrics that are computed, in order."""
    calls: list[str] = []

    def spy(comparison: Comparison, measures: Measures) -> dict[str, list[float]]:
        calls.append(f"{comparison.prediction.path.name} {' '.join(measures.functions)}")
        return measure(comparison, measures)

    monkeypatch.setattr(module, "measure", spy)
    return calls


def test_files(config: EvaluationConfig) -> None:
    """Would catch infinities that no JSON reader takes, and results that are not written."""
    table = evaluate(replace(config, metrics=("psnr", "lpips")))
    record = json.loads((config.out / "metrics/one.json").read_text())
    assert record["psnr"][0] is None and record["psnr"][1] > 0
    assert (record["num_frames"], record["prediction"]["width"]) == (2, 14)
    summary = json.loads((config.out / "summary.json").read_text())
    assert summary["metrics"]["psnr"]["num_identical"] == 2
    assert summary["not_computed"] == {"lpips": f"no weights in {config.lpips_folder}"}
    text = (config.out / "summary.md").read_text()
    assert table in text and "not computed: no weights" in table and "| two " in text
    assert (config.out / "psnr.png").is_file() and not (config.out / "lpips.png").exists()


def test_only_what_changed_is_computed_again(config: EvaluationConfig, computed: list[str]) -> None:
    """Would catch stale figures after a change of files or options, and needless work."""
    table = evaluate(config)
    assert evaluate(config) == table
    assert computed == ["one psnr", "two psnr"]
    computed.clear()
    both = replace(config, metrics=("psnr", "ssim"))
    evaluate(both)
    assert computed == ["one ssim", "two ssim"]
    computed.clear()
    stamp = config.reference / "two/1.png"
    os.utime(stamp, (0, 0))
    evaluate(config)
    assert computed == ["two psnr"]
    computed.clear()
    evaluate(replace(both, options=CompareOptions(frames=1)))
    assert computed == ["one psnr ssim", "two psnr ssim"]
    computed.clear()
    (config.out / "metrics/one.json").write_text("{ no JSON")
    (config.out / "metrics/two.json").write_text('{"psnr": [1.0, 2.0]}')
    evaluate(config)
    assert computed == ["one psnr", "two psnr"]


def test_names_that_only_one_folder_has(config: EvaluationConfig) -> None:
    """Would catch a mean over fewer videos than the user believes."""
    (config.reference / "two").rename(config.reference / "three")
    words = r"1 only in .*/a \(two\); 1 only in .*/b \(three\)"
    with pytest.raises(InputError, match=words):
        evaluate(config)
    evaluate(replace(config, common_names=True))
    summary = json.loads((config.out / "summary.json").read_text())
    assert list(summary["metrics"]["psnr"]["videos"]) == ["one"]
    assert len(summary["left_out"]) == 2


def test_every_pair_is_checked_before_the_first_is_computed(
    config: EvaluationConfig, computed: list[str]
) -> None:
    """Would catch an error in the last video after hours with the others."""
    (config.reference / "two/1.png").unlink()
    with pytest.raises(InputError, match="a/two and .*b/two: got 2 and 1 frames"):
        evaluate(config)
    assert computed == []


def test_results_inside_an_input_are_refused(config: EvaluationConfig) -> None:
    """Would catch plots that the next run takes for pictures to compare."""
    with pytest.raises(InputError, match="--out"):
        evaluate(replace(config, out=config.reference / "results"))
