"""Names of scenes, which name the files of their clips.

A name is the stem of the input, then the prompt if there is one, with a digest, because prompts do
not fit into file names. It depends on the names of the inputs and on where they lie relative to
each other, but not on the working directory or on the targets of links.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

LONGEST_STEM = 80
LONGEST_PROMPT = 40
# File names that say nothing without their folder.
ANONYMOUS = ("rgb",)
# Bytes that are not UTF-8 (Python keeps them as lone surrogates), and control characters.
UNSAFE = re.compile(r"[\ud800-\udfff\x00-\x1f\x7f]")


def scene_name(path: Path | None, prompt: str) -> str:
    """Returns the name of the scene of an input, a prompt, or both."""
    parts = []
    if path is not None:
        named = _absolute(path)
        named = named.parent if named.stem in ANONYMOUS else named
        # A folder's name has no suffix, even with a dot in it.
        stem = named.name if named.is_dir() else named.stem
        parts.append(_shortened(stem.lstrip(".")))
    if prompt:
        words = re.sub(r"[^a-z0-9]+", "_", prompt.lower())[:LONGEST_PROMPT].strip("_")
        parts += [word for word in (words, _digest(prompt)) if word]
    return "_".join(parts)


def distinct_names(names: Sequence[str], paths: Sequence[Path | None]) -> list[str]:
    """Returns the names; equal ones get a digest of the input's path below the common folder."""
    # File systems may ignore case.
    counts = Counter(name.casefold() for name in names)
    folders = [str(_absolute(path).parent) for path in paths if path is not None]
    common = os.path.commonpath(folders) if folders else ""
    below = ["" if path is None else os.path.relpath(_absolute(path), common) for path in paths]
    return [
        name if counts[name.casefold()] == 1 else f"{name}_{_digest(place)}"
        for name, place in zip(names, below, strict=True)
    ]


def _absolute(path: Path) -> Path:
    """Returns the path from the root, with its links kept."""
    # `Path.absolute` would keep `..`, which is no name.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _shortened(stem: str) -> str:
    safe = UNSAFE.sub("_", stem)
    encoded = safe.encode()
    if safe == stem and len(encoded) <= LONGEST_STEM:
        return stem or "scene"
    return encoded[:LONGEST_STEM].decode(errors="ignore") + "_" + _digest(stem)


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
