"""Fills the blocks of a document between `<!-- begin NAME -->` and `<!-- end NAME -->`.

The text around the blocks is written by hand and stays.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from src.io.atomic import atomic_path
from src.io.json_object import read_json_object
from src.runtime import InputError

from ..evaluate import FIGURES
from .tables import (
    ablation_table,
    checks_table,
    depth_table,
    distillation_table,
    dynamic_table,
    generator_table,
    static_table,
    tokenizer_table,
)
from .trainings import Training, find_trainings, parts_table, trainings_table

BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
# Pictures in the repository: bytes at most, and pixels of the longer side.
MOST_BYTES, LONGEST = 100_000, 1280
QUALITIES = range(92, 30, -6)
NOTHING = "Not measured yet."
EVALUATED = "_evaluation"
TABLES: dict[str, Callable[[Any], str]] = {
    "tokenizer": tokenizer_table,
    "depth": depth_table,
    "generator": generator_table,
    "static": static_table,
    "dynamic": dynamic_table,
}


def fill_document(runs: Path, document: Path, images: Path) -> None:
    """Fill a document with figures, curves and sheets of runs; pictures go into `images`."""
    content = read_evaluation(runs / "evaluation")
    blocks = evaluation_blocks(content)
    blocks |= training_blocks(find_trainings(runs / "training"), images, document)
    blocks["minutes"] = parts_table(runs / "minutes.txt")
    # Runs of their own: without them the tables of earlier ones stay.
    if evaluations(runs / "ablations"):
        blocks["ablations"] = ablation_block(runs / "ablations")
    if distilled := evaluations(runs / "distill"):
        blocks["distillation"] = distillation_table(distilled)
    blocks["sheets"] = sheets_block(content, runs / "evaluation", images, document)
    fill_blocks(document, blocks)


def fill_blocks(path: Path, blocks: Mapping[str, str]) -> None:
    """Replace blocks of a document; raises `InputError` if there is none."""
    if not path.is_file():
        raise InputError(path, "no such file", "a document with blocks to fill")

    def replaced(match: re.Match[str]) -> str:
        if match[2] not in blocks:
            return match[0]
        return f"{match[1]}{blocks[match[2]].strip()}\n{match[3]}"

    text = BLOCK.sub(replaced, path.read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """Returns the evaluation in a folder, or None."""
    path = folder / FIGURES
    return read_json_object(path) if path.is_file() else None


def evaluation_blocks(content: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns the blocks of an evaluation: checks, a table of each part, how it was measured."""
    if content is None:
        return dict.fromkeys(("checks", "evaluation", *TABLES), NOTHING)
    blocks = {name: table(content["figures"]) for name, table in TABLES.items()}
    blocks["checks"] = checks_table(content["checks"])
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in content["seconds"].items())
    blocks["evaluation"] = (
        f"{_seen_worlds(content)}, on {content['hardware']}: {seconds}.\n\n{content['definition']}"
    )
    return blocks


def _seen_worlds(content: Mapping[str, Any]) -> str:
    """Returns how many worlds were seen, by part if the time was too short for all."""
    wished, seen = int(content["settings"]["seeds"]), content.get("worlds", {})
    if all(count == wished for kinds in seen.values() for count in kinds.values()):
        return f"{wished} worlds of each kind"
    parts = (
        f"{part} {' and '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        for part, kinds in seen.items()
    )
    return f"Fewer than {wished} worlds of each kind were seen ({'; '.join(parts)})"


def ablation_block(folder: Path) -> str:
    """Returns the table of the ablations, evaluated in `<name>_evaluation`."""
    return ablation_table(evaluations(folder))


def evaluations(folder: Path) -> dict[str, Any]:
    """Returns the figures of the evaluations in `<name>_evaluation`, by name."""
    paths = sorted(folder.glob(f"*{EVALUATED}/"))
    found = {path.name.removesuffix(EVALUATED): read_evaluation(path) for path in paths}
    return {name: part["figures"] for name, part in found.items() if part}


def training_blocks(trainings: Sequence[Training], images: Path, document: Path) -> dict[str, str]:
    """Returns the table of the trainings and links to their curves, written into `images`."""
    if not trainings:
        return dict.fromkeys(("trainings", "curves"), NOTHING)
    lines = []
    for run in trainings:
        curve = run.curve()
        if curve is not None:
            path = images / f"nano_curve_{run.name}.png"
            write_picture(path, curve)
            lines.append(_link(path, document, f"curve of {run.name}"))
    return {"trainings": trainings_table(trainings), "curves": "\n".join(lines) or NOTHING}


def sheets_block(content: Mapping[str, Any] | None, folder: Path, images: Path, at: Path) -> str:
    """Returns links to the sheets of an evaluation, copied into `images` as small files."""
    from PIL import Image

    parts = []
    for name, legend in (content or {}).get("sheets", {}).items():
        path = images / f"nano_{name}.jpg"
        write_picture(path, Image.open(folder / f"{name}.png").convert("RGB"))
        parts.append(f"**{name}**, from left to right: {legend}\n\n{_link(path, at, name)}")
    return "\n\n".join(parts) or NOTHING


def write_picture(path: Path, picture: "UInt8[Tensor, 'h w 3'] | Any") -> None:
    """Write a PNG, or a JPEG of at most `MOST_BYTES`, by the name of the file."""
    from PIL import Image

    image = Image.fromarray(picture.numpy()) if isinstance(picture, Tensor) else picture
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    with atomic_path(path) as temporary:
        if path.suffix == ".png":
            image.quantize(64).save(temporary, "PNG", optimize=True)
            return
        for quality in QUALITIES:
            image.save(temporary, "JPEG", quality=quality)
            if temporary.stat().st_size <= MOST_BYTES:
                break


def _link(path: Path, document: Path, words: str) -> str:
    place = path.resolve().relative_to(document.resolve().parent)
    return f"![{words}]({place.as_posix()})"
