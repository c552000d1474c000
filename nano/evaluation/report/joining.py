"""Joins evaluations of different parts into one, as if one run had made them.

Of a part in two evaluations the smaller number of worlds counts.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.io.atomic import atomic_path
from src.io.json_object import read_json_object
from src.runtime import InputError

from ..checks import DEFINITION, state_checks
from ..evaluate import FIGURES, TABLE, write_evaluation
from ..made import HEADER, PARTS, SOURCES, Summary

KEYS = ("settings", "worlds", "hardware", "seconds", "figures", "sheets")
# Settings that must agree, and the parts whose figures depend on them.
USED = {
    "seeds": PARTS,
    "frames": PARTS,
    "size": PARTS,
    "stride": ("static",),
    "trajectories": ("static", "dynamic"),
    "decoders.static": ("static",),
    "decoders.dynamic": ("dynamic",),
}
# Another device changes a figure by less, another set of worlds by more.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Finished:
    """An evaluation on the disk: its content, the rows of its table, the files of its sheets."""

    folder: Path
    content: Mapping[str, Any]
    rows: Sequence[tuple[str, str, str]]
    sheets: Mapping[str, bytes]

    @staticmethod
    def read(folder: Path) -> "Finished":
        """Reads the evaluation in a folder; raises `InputError` for missing or other files."""
        path = folder / FIGURES
        content = read_json_object(path)
        missing = [key for key in KEYS if key not in content]
        if missing or not isinstance(content["settings"].get("what"), list):
            raise InputError(path, f"no {', '.join(missing) or 'list of parts'}", "an evaluation")
        sheets = {name: folder / f"{name}.png" for name in content["sheets"]}
        for sheet in sheets.values():
            if not sheet.is_file():
                raise InputError(sheet, "no such file", f"a sheet that {path} names")
        pictures = {name: sheet.read_bytes() for name, sheet in sheets.items()}
        return Finished(folder, content, _read_table(folder / TABLE), pictures)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, with the decoders as `decoders.<name>`."""
        stated = dict(self.content["settings"])
        decoders = stated.pop("decoders", {})
        return stated | {f"decoders.{name}": path for name, path in decoders.items()}

    def uses(self, name: str) -> bool:
        """Whether a setting of `USED` had an effect."""
        return any(part in USED[name] for part in self.content["settings"]["what"])


def join_evaluations(folders: Sequence[Path], output: Path) -> dict[str, object]:
    """Write the joined evaluation into `output`; returns the content of its `evaluation.json`.

    A figure or a sheet in several folders is taken from the first of them. Raises `InputError` for
    a folder without an evaluation, settings that differ, two values of a figure.
    """
    found = [Finished.read(folder) for folder in dict.fromkeys(folders)]
    figures, rows = _join_figures(found)
    contents = [one.content for one in found]
    seconds: dict[str, float] = {}
    for part in contents:
        for name, value in part["seconds"].items():
            seconds[name] = round(seconds.get(name, 0) + value, 1)
    pictures = {name: data for one in reversed(found) for name, data in one.sheets.items()}
    content: dict[str, object] = {
        "settings": _join_settings(found, output),
        "worlds": _join_worlds([part["worlds"] for part in contents]),
        "hardware": ", ".join(dict.fromkeys(part["hardware"] for part in contents)),
        "seconds": seconds,
        "definition": DEFINITION,
        "figures": figures,
        "checks": state_checks(figures),
        "sheets": {k: v for part in reversed(contents) for k, v in part["sheets"].items()},
    }
    for name, data in pictures.items():
        with atomic_path(output / f"{name}.png") as temporary:
            temporary.write_bytes(data)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([HEADER, *rows])
    write_evaluation(output, content, table.getvalue())
    return content


def _join_settings(found: Sequence[Finished], output: Path) -> dict[str, Any]:
    """Returns common settings; one without effect in some evaluations comes from the others."""
    joined = _agreed([one.settings for one in found])
    for name in USED:
        users = [one for one in found if one.uses(name)]
        for one in users:
            expected, value = (each.settings.get(name) for each in (users[0], one))
            if value != expected:
                raise InputError(
                    one.folder, f"{name} {value}", f"{expected}, as in {users[0].folder}"
                )
        if users and name in users[0].settings:
            joined[name] = users[0].settings[name]
    prefix = "decoders."
    decoders = {k.removeprefix(prefix): v for k, v in joined.items() if k.startswith(prefix)}
    stated = {name: value for name, value in joined.items() if not name.startswith(prefix)}
    return stated | {
        "nano": found[0].settings.get("nano"),
        "output": output.as_posix(),
        "what": _union(PARTS, (one.settings["what"] for one in found)),
        "sources": _union(SOURCES, (one.settings.get("sources", ()) for one in found)),
        "decoders": decoders,
    }


def _agreed(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the entries that are the same in all."""
    first, *others = every
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}


def _union(order: Sequence[str], every: Iterable[Sequence[str]]) -> list[str]:
    found = {name for names in every for name in names}
    return [name for name in order if name in found]


def _join_worlds(every: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Returns the number of worlds of each kind behind all figures of a part."""
    joined: dict[str, dict[str, int]] = {}
    for part in PARTS:
        for worlds in every:
            for kind, count in worlds.get(part, {}).items():
                counts = joined.setdefault(part, {})
                counts[kind] = min(count, counts.get(kind, count))
    return joined


def _join_figures(
    found: Sequence[Finished],
) -> tuple[dict[str, Summary], list[tuple[str, str, str]]]:
    """Returns the figures of all, and their rows of the table."""
    figures: dict[str, Summary] = {}
    rows: list[tuple[str, str, str]] = []
    for one in found:
        own = one.content["figures"]
        for name, figure in own.items():
            if name in figures and not _same(figure, figures[name]):
                source = f"{one.folder}, figure {name}"
                raise InputError(source, figure, f"{figures[name]}, as in a folder before it")
        rows += [row for row in one.rows if row[0] not in figures]
        figures |= {name: figure for name, figure in own.items() if name not in figures}
    return figures, rows


def _same(ours: Summary, theirs: Summary) -> bool:
    """Whether two summaries agree, apart from rounding."""

    def agree(value: float | None, other: float | None) -> bool:
        if isinstance(value, float) and isinstance(other, float):
            return math.isclose(value, other, rel_tol=TOLERANCE, abs_tol=1e-9)
        return value == other

    return ours.keys() == theirs.keys() and all(agree(ours[key], theirs[key]) for key in ours)


def _read_table(path: Path) -> list[tuple[str, str, str]]:
    """Returns the rows below the header."""
    if not path.is_file():
        raise InputError(path, "no such file", "the table of an evaluation")
    lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    wrong = [line for line in lines if len(line) != len(HEADER)]
    if wrong or not lines or tuple(lines[0]) != HEADER:
        value = (wrong or lines or ["an empty file"])[0]
        raise InputError(path, value, f"a table of {', '.join(HEADER)}")
    return [(figure, seed, value) for figure, seed, value in lines[1:]]
