"""All checks of a checkpoint folder, part by part."""

import hashlib
import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import torch

from cosmos_predict1.diffusion.model.architecture import TransformerConfig, read_config
from src.checkpoints import PLACES, TOKENIZER, Place, layout, search_checkpoint
from src.checkpoints.kinds import unfinished
from src.checkpoints.opening import open_weights
from src.runtime import InputError

from .clips import check_clips, check_tars
from .forward import FORWARDS
from .networks import CHECKS, Finding, check_file, refused

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
    """Yields all findings about a checkpoint folder; see `check_weights.py`."""
    for path in unfinished(folder):
        text = f"a download that has not ended ({path.stat().st_size:,} bytes); run it again"
        yield Finding("wrong", path, text)
    yield from _digests(folder)
    # The path of each part that is there, and whether it fits.
    parts: dict[str, tuple[Path, bool]] = {}
    for part in PLACES:
        path = search_checkpoint(part, folder)
        if path is None:
            yield from list(_begun(part, folder)) or [Finding("missing", part, "not there")]
            continue
        found = CHECKS.get(part, check_file)(path, path.name in PUBLISHED)
        fits = yield from _guarded(path, found)
        parts[part] = (path, fits)
    fitting = {part: path for part, (path, fits) in parts.items() if fits}
    for part, path in fitting.items():
        yield from _values(part, path, values)
    yield from commands(folder, {*parts}, fitting)
    if forward:
        for part, path in fitting.items():
            if part in FORWARDS:
                yield from _guarded(path, FORWARDS[part](path, device))
    if clip is not None:
        yield from _guarded(clip, check_clips(clip, fitting, device))
    if tars is not None:
        yield from _guarded(tars, check_tars(tars))


def commands(folder: Path, found: set[str], fitting: Mapping[str, Path]) -> Iterator[Finding]:
    """Yields the parts that each command of the project lacks.

    A part that is found and not fitting is called so.
    """
    generator = fitting.get("generator")
    config = TransformerConfig() if generator is None else read_config(generator)
    text = config.sampling.text_encoder != "none"
    depth = "moge" if config == TransformerConfig() else "depth"
    prompts = ["t5"] if text and not (folder / "text_embeddings").is_dir() else []
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
        lacking = [part for part in parts if part not in fitting]
        if not lacking:
            yield Finding("ok", f"for {command}", f"{', '.join(parts)} are there and fit")
            continue
        names = [f"{part} (does not fit)" if part in found else part for part in lacking]
        hint = " (or --disable_prompt_encoder)" if "t5" in lacking and command != "prompts" else ""
        yield Finding("missing", f"for {command}", f"lacks {', '.join(names)}{hint}")


def _guarded(where: object, findings: Iterator[Finding]) -> Generator[Finding, None, bool]:
    """Yields findings, the error that ends them as one more; returns whether none is wrong."""
    sound = True
    try:
        for finding in findings:
            sound = sound and finding.state != "wrong"
            yield finding
    except InputError as error:
        sound = False
        yield refused(error)
    except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        sound = False
        yield Finding("wrong", where, f"{type(error).__name__}: {error}")
    return sound


def _begun(part: str, root: Path) -> Iterator[Finding]:
    """Yields the places that hold some files of a part and lack others."""
    places: dict[str, list[Place]] = {}
    for place in PLACES[part]:
        if place.path != "." and (root / place.path).is_dir():
            places.setdefault(place.path, []).append(place)
    for path, options in places.items():
        best = min(options, key=lambda place: len(place.missing(root)))
        missing = [Path(name).name for name in best.missing(root)]
        if len(missing) < len(best.files):
            yield Finding("wrong", root / path, f"{part} without {', '.join(missing)}")


def _values(part: str, path: Path, whole: bool) -> Iterator[Finding]:
    """Yields files with numbers that are not finite, among all or the first of each tensor."""
    files = [path] if path.is_file() else [path / name for name in layout(part, path) or ()]
    for file in files:
        if file.suffix == ".json" or file.name == "mean_std.pt":
            continue
        bad = []
        for name, tensor in open_weights(file).read().items():
            numbers = tensor if whole else tensor.reshape(-1)[:SAMPLE]
            if tensor.is_floating_point() and not numbers.isfinite().all():
                bad.append(name)
        if bad:
            text = f"{len(bad)} tensors that are not finite: {', '.join(bad[:8])}"
            yield Finding("wrong", file, text)
        elif whole:
            yield Finding("ok", file, "all numbers are finite")


def _digests(folder: Path) -> Iterator[Finding]:
    """Yields the files whose digest differs from the model card's, if there is a card."""
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
            yield Finding("wrong", path, f"sha256 {found}, not {digest} as the card has it")
    if good:
        yield Finding("ok", card, f"{good} files have the digests of the model card")
