"""Evaluations of parts, crafted by hand, become one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nano.evaluation.made import Settings
from nano.evaluation.report.document import evaluation_blocks, sheets_block
from nano.evaluation.report.joining import join_evaluations
from src.runtime import InputError

NANO = Path(__file__).resolve().parents[4] / "scripts/nano.py"
HEADER = "figure,seed,value\n"
Figures = dict[str, dict[str, float]]


def write(
    folder: Path, what: tuple[str, ...], figures: Figures, seen: int = 4, **settings: Any
) -> Path:
    """An evaluation of some parts, each with a sheet in a colour of its own."""
    folder.mkdir()
    stated = Settings(nano=Path("a/nano"), output=folder, what=what, seeds=4, **settings)
    content = {
        "settings": stated.jsonable(),
        "worlds": {part: {"still": seen} for part in what},
        "hardware": "CPU",
        "seconds": {"still worlds": 1.5},
        "definition": "",
        "figures": figures,
        "checks": [],
        "sheets": {part: f"legend of {part}" for part in what},
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    rows = "".join(f"{name},900000,{figure['psnr']}\n" for name, figure in figures.items())
    (folder / "seeds.csv").write_text(HEADER + rows)
    for place, part in enumerate(what):
        Image.new("RGB", (4, 4), (40 * place, len(folder.name), seen)).save(folder / f"{part}.png")
    return folder


def join(*folders: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """The command, with its output."""
    words = ["evaluate", "worlds", "--join", *folders, "--output", output]
    return subprocess.run([sys.executable, NANO, *words], capture_output=True, text=True)


def change(folder: Path, **entries: Any) -> None:
    path = folder / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    ceiling = {"ceiling.visible": {"psnr": 30.0, "pooled": 29.0}}
    figures = ceiling | {"tokenizer.static.rgb": {"psnr": 32.5, "pooled": 32.0}}
    return write(tmp_path / "clips", ("generator", "tokenizer"), figures)


@pytest.fixture
def static(tmp_path: Path) -> Path:
    figures = {"static.decoded.true": {"psnr": 24.5, "pooled": 24.0}}
    return write(
        tmp_path / "static", ("static",), figures, 3, sources=("true",), minutes=1.0, stride=2
    )


def test_parts_become_one(clips: Path, static: Path, tmp_path: Path) -> None:
    """Would catch a part, check, picture or line that is lost, and worlds that were not seen."""
    output = tmp_path / "all"
    done = join(static, clips, output=output)
    assert done.returncode == 0 and "MISSED       Gaussians against decoded frames" in done.stdout
    content = json.loads((output / "evaluation.json").read_text())
    settings = content["settings"]
    assert settings["what"] == ["tokenizer", "generator", "static"]
    assert settings["sources"] == ["true", "nano"] and settings["output"] == output.as_posix()
    assert (settings["nano"], settings["seeds"], settings["size"]) == ("a/nano", 4, [256, 448])
    # Only static figures depend on the stride; minutes are those of neither.
    assert settings["stride"] == 2 and "minutes" not in settings
    assert content["seconds"] == {"still worlds": 3.0} and content["hardware"] == "CPU"
    reached = {check["what"]: check["reached"] for check in content["checks"]}
    assert reached["tokenizer"] is True
    assert reached["Gaussians against decoded frames"] is False
    assert len(content["figures"]) == 3
    rows = (output / "seeds.csv").read_text().splitlines()
    assert rows[0] == HEADER.strip() and rows.count(rows[0]) == 1
    assert sorted(rows[1:]) == [
        "ceiling.visible,900000,30.0",
        "static.decoded.true,900000,24.5",
        "tokenizer.static.rgb,900000,32.5",
    ]
    for name, folder in (("tokenizer", clips), ("generator", clips), ("static", static)):
        ours, theirs = (place / f"{name}.png" for place in (output, folder))
        assert ours.read_bytes() == theirs.read_bytes()
    said = evaluation_blocks(content)["evaluation"]
    assert "(tokenizer 4 still; generator 4 still; static 3 still)" in said
    assert "legend of static" in sheets_block(content, output, tmp_path, tmp_path / "a.md")


def test_what_both_have(clips: Path, tmp_path: Path) -> None:
    """Would catch lines written twice, the later of two pictures, and figures that contradict."""
    figures = {"ceiling.visible": {"psnr": 30.0 + 1e-6, "pooled": 29.0}}
    other = write(tmp_path / "other", ("generator",), figures, 2)
    change(other, hardware="H200")
    content = join_evaluations([clips, other, clips], tmp_path / "all")
    assert (tmp_path / "all" / "seeds.csv").read_text().count("ceiling.visible") == 1
    picture = (tmp_path / "all" / "generator.png").read_bytes()
    assert picture == (clips / "generator.png").read_bytes()
    assert content["hardware"] == "CPU, H200"
    assert content["seconds"] == {"still worlds": 3.0}
    assert content["worlds"] == {"tokenizer": {"still": 4}, "generator": {"still": 2}}
    for contradiction in ({"psnr": 30.1, "pooled": 29.0}, {"psnr": 30.0}):
        change(other, figures={"ceiling.visible": contradiction})
        with pytest.raises(InputError, match=r"other, figure ceiling\.visible"):
            join_evaluations([clips, other], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("seeds", 5), ("frames", 9), ("size", [32, 48]), ("stride", 3)]
)
def test_settings_that_differ(name: str, value: object, static: Path, tmp_path: Path) -> None:
    """Would catch figures of other worlds or frames put side by side."""
    other = write(tmp_path / "other", ("static",), {}, minutes=3.0, stride=2)
    settings = json.loads((other / "evaluation.json").read_text())["settings"]
    join_evaluations([static, other], tmp_path / "all")
    change(other, settings=settings | {name: value})
    with pytest.raises(InputError, match=f"other: got {name}.*expected"):
        join_evaluations([static, other], tmp_path / "all")


def test_other_decoders(static: Path, tmp_path: Path) -> None:
    """Would catch the Gaussians of two decoders under one name, and a decoder that is forgotten."""
    moving = write(tmp_path / "moving", ("dynamic",), {}, decoders={"dynamic": Path("b")})
    content = join_evaluations([static, moving], tmp_path / "all")
    settings = content["settings"]
    assert isinstance(settings, dict) and settings["decoders"] == {"dynamic": "b"}
    other = write(tmp_path / "other", ("static",), {}, stride=2, decoders={"static": Path("c")})
    with pytest.raises(InputError, match=r"other: got decoders\.static c"):
        join_evaluations([static, moving, other], tmp_path / "all")


def test_what_is_no_evaluation(clips: Path, static: Path, tmp_path: Path) -> None:
    """Would catch a part that failed and is left out without a word."""
    output = tmp_path / "all"
    done = join(clips, tmp_path / "failed", output=output)
    assert done.returncode == 1 and "failed/evaluation.json: got no such file" in done.stderr
    (clips / "generator.png").unlink()
    with pytest.raises(InputError, match=r"generator\.png"):
        join_evaluations([clips], output)
    for text in ("", "figure,seed\n", HEADER + "a,1\n"):
        (static / "seeds.csv").write_text(text)
        with pytest.raises(InputError, match=r"seeds\.csv"):
            join_evaluations([static], output)
    (static / "seeds.csv").unlink()
    with pytest.raises(InputError, match=r"seeds\.csv"):
        join_evaluations([static], output)
    (static / "evaluation.json").write_text('{"figures": {}}')
    with pytest.raises(InputError, match="settings"):
        join_evaluations([static], output)
    assert not output.exists()
