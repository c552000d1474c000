"""All checks of a checkpoint folder, part by part."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cosmos_predict1.diffusion.model.architecture import TransformerConfig, read_config
from src.checkpoints import PLACES, TOKENIZER, Place, layout, search_checkpoint
from src.checkpoints.kinds import unfinished
from src.checkpoints.opening import open_weights
from src.depth.backends.nano import load_nano_depth
from src.runtime import InputError

from .clips import check_clips, check_tars
from .findings import Finding
from .forward import FORWARDS
from .networks import (
    check_decoder,
    check_file,
    check_generator,
    check_lpips,
    check_t5,
    check_tokenizer,
)

PUBLISHED = {"Gen3C-Cosmos-7B", "GEN3C-Cosmos-7B", TOKENIZER, "lyra_static.pt", "lyra_dynamic.pt"}
SAMPLE = 1024
CARD_ROW = re.compile(r"^\| (\S+) \| [\d,]+ \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def check(
    folder: Path,
    device: torch.device,
    forward: bool = True,
    values: bool = False,
    clip: Path | None = None,
    tars: str | None = None,
) -> Iterator[Finding]:
    """Everything that can be said of a checkpoint folder; see `check_weights.py`."""
    for path in unfinished(folder):
        text = f"a download that has not ended ({path.stat().st_size:,} bytes); run it again"
        yield Finding("wrong", str(path), text)
    yield from _digests(folder)
    report = Report(folder)
    for part in PLACES:
        yield from report.part(part)
    for part, path in report.fitting.items():
        yield from _values(part, path, values)
    yield from commands(report)
    if forward:
        for part, path in report.fitting.items():
            if part in FORWARDS:
                yield from _guarded(path, FORWARDS[part](path, device))
    if clip is not None:
        yield from _guarded(clip, check_clips(clip, report.fitting, device))
    if tars is not None:
        yield from _guarded(Path(tars), check_tars(tars))


@dataclass
class Report:
    """Where each part lies that was found, and which of them fit."""

    folder: Path
    found: dict[str, Path] = field(default_factory=dict)
    fitting: dict[str, Path] = field(default_factory=dict)

    def part(self, part: str) -> Iterator[Finding]:
        """The findings about one part."""
        path = search_checkpoint(part, self.folder)
        if path is None:
            begun = list(_begun(part, self.folder))
            yield from begun or [Finding("missing", part, "not there")]
            return
        self.found[part] = path
        sound = True
        for finding in _guarded(path, _look(part, path)):
            sound = sound and finding.state != "wrong"
            yield finding
        if sound:
            self.fitting[part] = path


def commands(report: Report) -> Iterator[Finding]:
    """What each command of the project lacks."""
    text, published = _generator_needs(report)
    depth = "moge" if published else "depth"
    prompts = ["t5"] if text and not (report.folder / "text_embeddings").is_dir() else []
    needs = {
        "static generation": ["generator", "tokenizer", depth, *prompts],
        "dynamic generation": ["generator", "tokenizer", *prompts],
        **({"prompts": ["generator", "t5"]} if text else {}),
        "sample static": ["tokenizer", "decoder_static"],
        "sample dynamic": ["tokenizer", "decoder_dynamic"],
        "training": ["tokenizer", "lpips"],
        "depth by MoGe": ["moge"],
    }
    if not text:
        yield Finding("note", "for prompts", "this generator was trained without a text encoder")
    for command, parts in needs.items():
        lacking = [part for part in parts if part not in report.fitting]
        if not lacking:
            yield Finding("ok", f"for {command}", f"{', '.join(parts)} are there and fit")
            continue
        kinds = [f"{part} (does not fit)" if part in report.found else part for part in lacking]
        hint = " (or --disable_prompt_encoder)" if "t5" in lacking and command != "prompts" else ""
        text_lacking = f"lacks {', '.join(kinds)}{hint}"
        yield Finding("missing", f"for {command}", text_lacking)


def _generator_needs(report: Report) -> tuple[bool, bool]:
    """Whether the generator there reads prompts, and whether it is of published size."""
    folder = report.fitting.get("generator")
    config = TransformerConfig() if folder is None else read_config(folder)
    return config.sampling.text_encoder != "none", config == TransformerConfig()


def _look(part: str, path: Path) -> Iterator[Finding]:
    published = path.name in PUBLISHED
    if part == "generator":
        return check_generator(path, published)
    if part == "tokenizer":
        return check_tokenizer(path, published)
    if part.startswith("decoder"):
        return check_decoder(path, published)
    others: dict[str, Callable[[Path], Iterator[Finding]]] = {
        "t5": check_t5,
        "lpips": check_lpips,
        "depth": _check_depth,
    }
    if part in others:
        return others[part](path)
    return check_file(path if path.is_file() else path / "model.safetensors")


def _check_depth(folder: Path) -> Iterator[Finding]:
    network = load_nano_depth(folder)
    count = sum(part.numel() for part in network.state_dict().values())
    yield Finding("ok", str(folder), f"the depth network fits, {count:,} numbers")


def _guarded(where: Path, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings, and what stops them as one of them."""
    try:
        yield from findings
    except InputError as error:
        yield Finding("wrong", str(error.source), f"{error.value}; expected {error.expected}")
    except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        yield Finding("wrong", str(where), f"{type(error).__name__}: {error}")


def _begun(part: str, root: Path) -> Iterator[Finding]:
    """Places that hold some of the files of a part, and lack others."""
    places: dict[str, list[Place]] = {}
    for place in PLACES[part]:
        if place.path != "." and (root / place.path).is_dir():
            places.setdefault(place.path, []).append(place)
    for path, options in places.items():
        best = min(options, key=lambda place: len(place.missing(root)))
        missing = [Path(name).name for name in best.missing(root)]
        if len(missing) < len(best.files):
            yield Finding("wrong", str(root / path), f"{part} without {', '.join(missing)}")


def _values(part: str, path: Path, whole: bool) -> Iterator[Finding]:
    """Tensors with numbers that are not finite: in the first numbers of each, or in all."""
    files = [path] if path.is_file() else [path / name for name in layout(part, path) or ()]
    for file in files:
        if file.suffix == ".json" or file.name == "mean_std.pt":
            continue
        weights = open_weights(file)
        bad = []
        for name, tensor in weights.read().items():
            numbers = tensor if whole else tensor.reshape(-1)[:SAMPLE]
            if tensor.is_floating_point() and not numbers.isfinite().all():
                bad.append(name)
        if bad:
            text = f"{len(bad)} tensors that are not finite: {', '.join(bad[:8])}"
            yield Finding("wrong", str(file), text)
        elif whole:
            yield Finding("ok", str(file), "all numbers are finite")


def _digests(folder: Path) -> Iterator[Finding]:
    """Files whose digest is not that of the model card, where the folder has one."""
    card = folder / "README.md"
    rows = CARD_ROW.findall(card.read_text(encoding="utf-8")) if card.is_file() else []
    good = 0
    for name, digest in rows:
        path = folder / name
        if not path.is_file():
            continue
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        good += found == digest
        if found != digest:
            yield Finding("wrong", str(path), f"sha256 {found}, not {digest} as the card has it")
    if good:
        yield Finding("ok", str(card), f"{good} files have the digests of the model card")
