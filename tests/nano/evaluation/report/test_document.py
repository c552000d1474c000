import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from nano.evaluation.report.document import (
    MOST_BYTES,
    ablation_block,
    evaluation_blocks,
    fill_blocks,
    fill_document,
    training_blocks,
    write_picture,
)
from nano.evaluation.report.trainings import find_trainings, parts_table
from src.runtime import InputError

DOCUMENT = "# A\n\n<!-- begin x -->\nold\n<!-- end x -->\nkept\n<!-- begin y -->\n<!-- end y -->\n"


def write_journal(folder: Path, records: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True)
    (folder / "steps.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))


def test_blocks(tmp_path: Path) -> None:
    """Would catch words outside of the blocks that change, and a second run that adds to them."""
    path = tmp_path / "a.md"
    path.write_text(DOCUMENT)
    for _ in range(2):
        fill_blocks(path, {"x": "new", "z": "unknown"})
        assert path.read_text() == DOCUMENT.replace("old", "new")
    with pytest.raises(InputError):
        fill_blocks(tmp_path / "b.md", {})


def test_nothing_measured(tmp_path: Path) -> None:
    """Would catch a document that says nothing of what is missing."""
    assert set(evaluation_blocks(None).values()) == {"Not measured yet."}
    assert training_blocks([], tmp_path, tmp_path / "a.md")["curves"] == "Not measured yet."
    assert ablation_block(tmp_path).startswith("Not run: full;")


def test_ablations(tmp_path: Path) -> None:
    """Would catch folders of another name than the script for ablations writes."""
    figures = {"static.decoded.true": {"psnr": 25.123, "pooled": 24.0}}
    for name in ("full_evaluation", "truth_evaluation"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(json.dumps({"figures": figures}))
    block = ablation_block(tmp_path)
    assert "| full | 25.12 (24.00) | – |" in block and "trained on the worlds" in block
    assert "Not run: one trajectory" in block


def test_tables_of_runs_that_are_not_there_stay(tmp_path: Path) -> None:
    """Would catch a report that wipes out ablations which were measured earlier."""
    path, kept = tmp_path / "a.md", "<!-- begin ablations -->\n| full |\n<!-- end ablations -->"
    path.write_text(f"{kept}\n<!-- begin checks -->\n<!-- end checks -->\n")
    fill_document(tmp_path / "runs", path, tmp_path)
    assert kept in path.read_text() and "Not measured yet." in path.read_text()
    (tmp_path / "runs/ablations/full_evaluation").mkdir(parents=True)
    file = tmp_path / "runs/ablations/full_evaluation/evaluation.json"
    file.write_text(json.dumps({"figures": {"static.decoded.true": {"psnr": 25.1, "pooled": 24}}}))
    fill_document(tmp_path / "runs", path, tmp_path)
    assert "| full | 25.10 (24.00) |" in path.read_text()


def test_trainings(tmp_path: Path) -> None:
    """Would catch minutes of reported lines only, and stages out of order."""
    every = [{"step": s, "loss": 1 / s, "seconds_step": 0.6} for s in range(10, 1010, 10)]
    write_journal(tmp_path / "runs/tokenizer", [*every, {"step": 1000, "validation_psnr": 29.5}])
    later = [{"step": s, "loss": 1.0, "seconds_step": 60.0} for s in (1001, 1002)]
    for name in ("3dgs_res_176_320_views_17", "depth"):
        write_journal(tmp_path / "runs" / name, later)
    found = find_trainings(tmp_path / "runs")
    assert [run.name for run in found] == ["tokenizer", "depth", "3dgs_res_176_320_views_17"]
    # The first line may stand for more steps than its own; how many is not on record.
    assert found[0].minutes == pytest.approx(9.91) and found[1].minutes == pytest.approx(2)
    images = tmp_path / "docs/images"
    blocks = training_blocks(found, images, tmp_path / "docs/nano.md")
    assert "| tokenizer | 1000 | 9.9 | psnr 29.5 |" in blocks["trainings"]
    assert "(images/nano_curve_tokenizer.png)" in blocks["curves"]
    assert Image.open(images / "nano_curve_tokenizer.png").size == (960, 480)


def test_minutes(tmp_path: Path) -> None:
    """Would catch a part that was stopped and called again, counted once."""
    path = tmp_path / "minutes.txt"
    assert parts_table(path) == ""
    path.write_text("tokenizer: 300 s\ndepth: 60 s\ntokenizer: 30 s\n")
    assert "| tokenizer | 5.5 |\n| depth | 1.0 |" in parts_table(path)


def test_pictures_stay_small(tmp_path: Path) -> None:
    """Would catch files that are too large for the repository."""
    noise = (torch.rand(1200, 2400, 3) * 255).byte()
    write_picture(tmp_path / "noise.jpg", noise)
    smooth = torch.linspace(0, 255, 800).byte()[:, None, None].expand(-1, 900, 3).contiguous()
    write_picture(tmp_path / "smooth.jpg", smooth)
    assert Image.open(tmp_path / "noise.jpg").width == 1280
    assert (tmp_path / "smooth.jpg").stat().st_size < MOST_BYTES
