"""The manifest that fixes the frames of an evaluation, and the files with its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...io.atomic import write_text
from ...io.image import write_png
from ...io.json_object import read_json_object, write_json
from ...runtime import InputError
from ..compare import TITLES, Measures, figure, markdown
from .measure import SCALES, SHEET_COLUMNS, WINDOW, Measured, even_window
from .reading import Capture

KEYS = ("capture", "input", "targets", "digest")
EXPECTED = f"a manifest with {', '.join(KEYS)}"
TITLES_OF_PIXELS = {
    "psnr_all": "PSNR, dB",
    "psnr_covered": "PSNR covered",
    "psnr_disoccluded": "PSNR disoccluded",
}
LEGEND = (
    "Means over frames; PSNR of RGB in [0, 1]; SSIM and LPIPS of whole pictures. Covered: pixels "
    "onto which a pixel of the input falls by its depth. Unprojected: the input's pixels as small "
    "balls at their depth. Repeated: the input itself. Holes have the input's mean colour."
)


@dataclass(frozen=True)
class Frames:
    """The input and the targets of an evaluation, as places in the capture."""

    origin: int
    targets: tuple[int, ...]

    def manifest(self, capture: Capture) -> dict[str, object]:
        """Returns the frames by name, with a digest of their pictures and cameras."""
        return {
            "capture": capture.name,
            "input": capture.names[self.origin],
            "targets": [capture.names[target] for target in self.targets],
            "digest": capture.digest((self.origin, *self.targets)),
        }


def choose_frames(capture: Capture, word: str | None, manifest: Path | None) -> Frames:
    """The frames of a manifest; without one, picture `word` (the first) and all the others.

    Raises `InputError` for an unknown picture; an incomplete manifest, or one of another capture or
    of another input than `word`.
    """
    if manifest is None:
        origin = capture.index(word or "0")
        return Frames(origin, tuple(at for at in range(len(capture.names)) if at != origin))
    values = read_json_object(manifest)
    if missing := [key for key in KEYS if not values.get(key)]:
        raise InputError(manifest, f"no {', '.join(missing)}", EXPECTED)
    source, targets = values["input"], values["targets"]
    named = isinstance(targets, list) and [name for name in (source, *targets)]
    if not named or not all(isinstance(name, str) for name in named):
        raise InputError(manifest, "names that are no text", EXPECTED)
    if unknown := [name for name in named if name not in capture.names]:
        expected = f"pictures of {capture.path}: the manifest is of another capture"
        raise InputError(manifest, f"picture {unknown[0]!r}", expected)
    origin, *places = (capture.names.index(name) for name in named)
    if len(set(named)) < len(named):
        raise InputError(manifest, "a picture twice", "an input and targets, each once")
    if word is not None and capture.index(word) != origin:
        raise InputError("--input", word, f"{source!r} as in {manifest}, or no --input")
    if capture.digest((origin, *places)) != values["digest"]:
        expected = f"the pictures and cameras of {capture.path}: files or capture are others"
        raise InputError(manifest, f"digest {str(values['digest'])[:12]}", expected)
    return Frames(origin, tuple(places))


def write_report(
    out: Path,
    capture: Capture,
    frames: Frames,
    measured: Measured,
    measures: Measures,
    made_with: Mapping[str, object],
) -> str:
    """Writes manifest.json, metrics.json, summary.md and sheet.png; returns the summary."""
    window = even_window(frames.targets, frames.origin)
    windows = {
        f"all {len(frames.targets)} targets": list(range(len(frames.targets))),
        f"{len(window)} targets{' evenly after the input' * (len(window) <= WINDOW)}": window,
    }
    means = {name: measured.means(places) for name, places in windows.items()}
    manifest = frames.manifest(capture)
    factors = {
        name: {"value": found.value, "method": found.method}
        for name, found in measured.factors.items()
    }
    names = manifest["targets"]
    content = {
        **{"manifest": manifest, "made_with": dict(made_with), "factors": factors},
        **{"windows": means, "not_computed": measures.missing},
        "frames": {"names": names, "covered": measured.covered, "figures": measured.frames},
    }
    write_json(out / "metrics.json", _finite(content))
    write_json(out / "manifest.json", manifest)
    write_png(out / "sheet.png", measured.picture())
    scales = [
        f"{name}: {measured.factors[name].value:.4g} ({factors[name]['method']})" for name in SCALES
    ]
    lines = [
        f"# {manifest['capture']}, input {manifest['input']}",
        f"Scene units per unit of the capture, {'; '.join(scales)}.",
    ]
    for name, rows in means.items():
        lines += [f"## {name}", markdown(_table(rows))]
    lines += [f"{name.upper()}: {reason}." for name, reason in measures.missing.items()]
    lines += [LEGEND, f"`sheet.png`, aligned: {' | '.join(SHEET_COLUMNS)}."]
    text = "\n\n".join(lines) + "\n"
    write_text(out / "summary.md", text)
    return text


def _table(rows: Sequence[Mapping[str, object]]) -> list[list[str]]:
    titles = TITLES_OF_PIXELS | TITLES
    names = [name for name in rows[0] if name in titles]
    table = [["scale", "method", "covered", *(titles[name] for name in names)]]
    for row in rows:
        values = [row[name] for name in names]
        cells = [
            figure(value if isinstance(value, float) else None, 2 if "psnr" in name else 3, "-")
            for name, value in zip(names, values, strict=True)
        ]
        table.append([str(row["scale"]), str(row["method"]), f"{row['covered']:.0%}", *cells])
    return table


def _finite(value: object) -> object:
    """Values for JSON: the infinite PSNR of identical pixels is null."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if value in (float("inf"), float("-inf")) else value
