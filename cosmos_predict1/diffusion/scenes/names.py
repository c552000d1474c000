"""Names of scenes, which name the files of their clips.

A name is the stem of the input, followed by the prompt if there is one, with a digest, since
prompts do not fit into file names. It depends on what the inputs are called and where they lie to
each other, and not on the working directory or on what a link points to.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

LONGEST_STEM = 80
LONGEST_PROMPT = 40
# Names of files that mean nothing without their folder.
ANONYMOUS = ("rgb",)
# Bytes of a file name that are no UTF-8 (Python keeps them as lone surrogates), control characters.
UNSAFE = re.compile(r"[\ud800-\udfff\x00-\x1f\x7f]")


def scene_name(path: Path | None, prompt: str) -> str:
    """The name of the scene of an input, a prompt, or both."""
    parts = []
    if path is not None:
        named = absolute(path)
        named = named.parent if named.stem in ANONYMOUS else named
        # The name of a folder has no suffix, though it may have a dot.
        stem = named.name if named.is_dir() else named.stem
        parts.append(_shortened(stem.lstrip(".")))
    if prompt:
        words = re.sub(r"[^a-z0-9]+", "_", prompt.lower())[:LONGEST_PROMPT].strip("_")
        parts += [word for word in (words, _digest(prompt)) if word]
    return "_".join(parts)


def distinct_names(names: Sequence[str], paths: Sequence[Path | None]) -> list[str]:
    """The names; those that are alike are followed by a digest of where their inputs lie.

    That is the path below the folder that all inputs have in common.
    """
    # File systems may not tell upper from lower case.
    counts = Counter(name.casefold() for name in names)
    folders = [str(absolute(path).parent) for path in paths if path is not None]
    common = os.path.commonpath(folders) if folders else ""
    return [
        name if counts[name.casefold()] == 1 else f"{name}_{_digest(_below(path, common))}"
        for name, path in zip(names, paths, strict=True)
    ]


def absolute(path: Path) -> Path:
    """The path from the root on, links left as they are."""
    # `Path.absolute` would keep `..`, which names nothing.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _below(path: Path | None, folder: str) -> str:
    return "" if path is None else os.path.relpath(absolute(path), folder)


def _shortened(stem: str) -> str:
    safe = UNSAFE.sub("_", stem)
    encoded = safe.encode()
    if safe == stem and len(encoded) <= LONGEST_STEM:
        return stem or "scene"
    return encoded[:LONGEST_STEM].decode(errors="ignore") + "_" + _digest(stem)


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
