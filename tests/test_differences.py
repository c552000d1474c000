"""The README's table of differences: the flags and settings that it names exist and work."""

import re
from pathlib import Path

import pytest

from cosmos_predict1.diffusion.config import sdg_config
from cosmos_predict1.diffusion.flags import dynamic_parser, static_parser
from src.config.loading import command_line_layer, file_layer, load_train_config
from src.config.sample import load_sample_config
from src.runtime import InputError
from src.training.decoder.config import DecoderTrainConfig

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = ("configs/inference/default.yaml", "configs/demo/lyra_static.yaml")


def differences() -> list[list[str]]:
    """The cells of each row of the table."""
    text = (REPOSITORY / "README.md").read_text()
    section = text.split("### What differs from the original")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def ways_back() -> list[str]:
    """What stands as code in the last column."""
    return [way for row in differences() for way in re.findall(r"`([^`]+)`", row[2])]


def test_every_difference_has_a_way_back_or_says_why_not() -> None:
    """A deviation that a user can neither undo nor understand."""
    assert len(differences()) > 20
    for row in differences():
        assert len(row) == 3 and all(row), row
        assert row[2].startswith(("`", "none: ")), row


@pytest.mark.parametrize("way", ways_back())
def test_the_ways_back_exist_and_change_something(way: str) -> None:
    """A flag or a setting that was renamed, is misspelt, or is the default already."""
    takers = takers_of_flags(way) if way.startswith("--") else takers_of_settings(way)
    assert takers, f"nobody takes {way}"


def takers_of_flags(way: str) -> list[str]:
    """The commands that take the flag; it changes the configuration of all of them."""
    takers = []
    for make in (static_parser, dynamic_parser):
        plain = sdg_config(make("").parse_args([]))
        assert sdg_config(make("").parse_args(way.split())) != plain, way
        takers.append(make.__name__)
    return takers


def takers_of_settings(way: str) -> list[str]:
    """The commands that take the setting, whose configuration it changes."""
    takers = []
    default = file_layer("configs/training/default.yaml")
    for name, load in (
        ("sample.py", lambda *more: load_sample_config(*SAMPLE, more)),
        (
            "train.py",
            lambda *more: load_train_config(
                DecoderTrainConfig, [default, command_line_layer(more)]
            ),
        ),
    ):
        try:
            changed = load(way)
        except InputError:
            continue
        if changed != load():
            takers.append(name)
    return takers
