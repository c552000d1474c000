"""The whole evaluation with tiny random networks: what it measures does not depend on them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_generator import write_tiny_weights
from tiny_scene import tiny_decoder

from nano.evaluation import evaluate as module
from nano.evaluation.evaluate import evaluate
from nano.evaluation.made import Evaluation, Settings
from nano.evaluation.report.document import evaluation_blocks
from src.models.recon.decoder import save_decoder
from src.runtime import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_weights(tmp_path_factory.mktemp("nano"))
    for dynamic, name in ((False, "decoder_static"), (True, "decoder_dynamic")):
        save_decoder(tiny_decoder(dynamic), folder / name)
    return folder


@pytest.mark.slow
def test_all_parts_of_two_worlds(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch a part that fails, and clips compared with those of another world or time."""
    monkeypatch.setitem(module.GROUP, "cpu", 2)
    settings = Settings(nano=weights, output=tmp_path, seeds=2, frames=9, size=(32, 48), pictured=2)
    found = evaluate(settings, torch.device("cpu"))
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["figures"] == found["figures"]
    figures = content["figures"]
    for source in ("true", "nano"):
        for part in ("generator", "nearest", "moving_generator", "moving_nearest"):
            assert figures[f"{part}.{source}.hidden"]["clips"] == 12
        assert figures[f"static.decoded.{source}"]["clips"] == 12
        assert figures[f"dynamic.time_4.{source}"]["clips"] == 12
    # These come from the worlds alone: warps and points that fit their own world.
    assert figures["nearest.true.visible"]["psnr"] > 20
    assert figures["moving_nearest.true.visible"]["psnr"] > 20
    assert figures["unprojected.ends.true"]["psnr"] > 15
    assert figures["moving_unprojected.ends.true"]["psnr"] > 15
    assert figures["depth.absrel"]["count"] == 2
    assert len(content["checks"]) == 13 and {"what", "reached"} <= content["checks"][0].keys()
    rows = list(csv.DictReader((tmp_path / "seeds.csv").open()))
    assert {row["seed"] for row in rows} == {"920000", "920001", "930000", "930001"}
    for name in ("tokenizer", "depth", "generator", "static", "dynamic"):
        assert (tmp_path / f"{name}.png").is_file()


def test_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch time counted anew for moving worlds, and worlds counted that were not seen."""
    clock = [0.0]

    def work(self: Evaluation, seeds: range) -> None:
        """Half a minute."""
        clock[0] += 30
        self.ledger.add_values("depth.x", seeds, torch.ones(len(seeds)))

    for worlds in (module.StillWorlds, module.MovingWorlds):
        monkeypatch.setattr(worlds, "evaluate", work)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setitem(module.GROUP, "cpu", 2)
    what = ("depth", "tokenizer")
    settings = Settings(nano=tmp_path, output=tmp_path / "out", what=what, seeds=4)
    for minutes, still, moving in ((None, 4, 4), (0.6, 4, 0), (1.2, 4, 2), (0.1, 2, 0)):
        evaluate(replace(settings, minutes=minutes), torch.device("cpu"))
        content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        worlds = {"depth": {"still": still}, "tokenizer": {"still": still, "moving": moving}}
        assert content["worlds"] == worlds
        assert content["figures"]["depth.x"]["count"] == still + moving
        assert content["settings"]["minutes"] == minutes and content["settings"]["seeds"] == 4
        said = evaluation_blocks(content)["evaluation"]
        short = f"(tokenizer {still} still and {moving} moving; depth {still} still)"
        whole = said.startswith("4 worlds of each kind, on CPU")
        assert whole == (minutes is None) and (short in said) == (minutes is not None)


def test_parts_that_are_not_there(weights: Path, tmp_path: Path) -> None:
    """Would catch networks that are loaded, and demanded, though nothing wants them."""
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "tokenizer").symlink_to(weights / "tokenizer")
    settings = Settings(
        nano=tmp_path / "nano",
        output=tmp_path / "out",
        what=("tokenizer",),
        seeds=1,
        frames=9,
        size=(32, 48),
        pictured=1,
    )
    figures = evaluate(settings, torch.device("cpu"))["figures"]
    names = {f"tokenizer.{kind}.{c}" for kind in ("static", "dynamic") for c in ("rgb", "cb")}
    assert isinstance(figures, dict) and names <= figures.keys() and len(figures) == 8
    with pytest.raises(InputError, match="depth"):
        evaluate(replace(settings, what=("depth",)), torch.device("cpu"))
