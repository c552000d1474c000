"""Figures of a tokenizer on footage."""

from pathlib import Path

import pytest
import torch

from nano.data.clips import untrained_tokenizer
from nano.evaluation.figures.tokenizer import footage_figures
from src.io.image import write_png
from src.runtime import InputError


def test_photographs_and_videos(tmp_path: Path) -> None:
    """A folder that counts as one picture, a stride that is ignored, a mean of other figures."""
    tokenizer = untrained_tokenizer(tmp_path / "tokenizer", 17)
    for number in range(33):
        picture = torch.full((40, 60, 3), 7 * number, dtype=torch.uint8)
        write_png(tmp_path / "film" / f"{number:02}.png", picture)
    photos = [tmp_path / "film" / "00.png", tmp_path / "photos"]
    for name in ("a", "b"):
        write_png(tmp_path / "photos" / f"{name}.png", torch.zeros(40, 60, 3, dtype=torch.uint8))
    film = str(tmp_path / "film")
    output = tmp_path / "out"
    found = footage_figures(tokenizer, (32, 48), photos, [f"{film}:2"], output=output)
    assert [*found["photographs"]] == ["00", "a", "b"] and [*found["videos"]] == [film]
    windows = [part["window"] for part in found["photographs"].values()]
    assert found["mean"]["window"] == pytest.approx(sum(windows) / 3)
    assert found["mean"]["videos"] == found["videos"][film] and "worlds" not in found
    assert {path.name for path in output.iterdir()} == {"00.png", "a.png", "b.png", "film.png"}
    assert footage_figures(tokenizer, (32, 48))["mean"]["first"] is None
    with pytest.raises(InputError, match="film: got 11 pictures"):
        footage_figures(tokenizer, (32, 48), videos=[f"{film}:3"])
