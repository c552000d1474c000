"""Which scenes a run makes: a picture or video each, or a prompt alone, and the name of its clips.

A key names the files of a scene. It is the stem of the input, followed by the prompt if there is
one, with a digest, since prompts do not fit into file names.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src.io.image import find_images
from src.runtime import InputError

from .config import InputConfig

LONGEST_STEM = 80
LONGEST_PROMPT = 40
# Names of files that mean nothing without their folder.
ANONYMOUS = ("rgb",)


@dataclass(frozen=True)
class SceneInput:
    """One scene: the name of its clips, its picture or video (None: to be made), its prompt."""

    key: str
    path: Path | None
    prompt: str = ""


def scene_inputs(config: InputConfig, moving: bool) -> list[SceneInput]:
    """The scenes of a run, their keys unlike each other.

    Raises:
        InputError: nothing to make scenes from, or several contradicting things; a file or folder
            that is missing or empty; a malformed line; the same scene twice; one depth file for
            several pictures.
    """
    scenes = _distinct(list(_listed(config, moving)))
    single = config.depth not in ("auto",) and Path(config.depth).suffix != ""
    if single and len(scenes) > 1:
        expected = f"a backend by name for {len(scenes)} inputs"
        raise InputError("--depth", config.depth, expected)
    return scenes


def _listed(config: InputConfig, moving: bool) -> Iterator[SceneInput]:
    """The scenes, whose keys may still be alike."""
    flags = {
        "--vipe_path": config.vipe,
        "--input_image_path": config.image,
        "--batch_input_path": config.batch,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    if len(given) > 1:
        raise InputError("input", " and ".join(given), "one of them")
    if config.batch is not None:
        yield from _read_lines(Path(config.batch), config.prompt, moving)
        return
    value = config.image if config.vipe is None else config.vipe
    if value is None:
        if moving or not config.prompt:
            choice = "--vipe_path, --input_image_path" if moving else "--input_image_path, --prompt"
            raise InputError("input", "none", f"{choice} or --batch_input_path")
        yield SceneInput(_key(None, config.prompt), None, config.prompt)
        return
    path = Path(value).expanduser()
    pictures = find_images(path) if path.is_dir() and not moving else [path]
    for picture in pictures:
        yield _scene(picture, config.prompt, moving)


def _read_lines(path: Path, prompt: str, moving: bool) -> Iterator[SceneInput]:
    """The scenes of a JSONL file; a line's own prompt goes before `prompt`."""
    expected = '{"prompt": TEXT, "visual_input": PATH}, one a line'
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"unreadable ({error})", f"a file of {expected}") from error
    records = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        record = _parse(source, line, expected)
        text, visual = record.get("prompt") or prompt, record.get("visual_input")
        if not visual and (moving or not text):
            raise InputError(source, line.strip(), expected)
        records += 1
        if visual:
            yield _scene(_locate(visual, path.parent), text, moving)
        else:
            yield SceneInput(_key(None, text), None, text)
    if records == 0:
        raise InputError(path, "no lines", expected)


def _parse(source: str, line: str, expected: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(source, f"malformed JSON ({error})", expected) from error
    if not isinstance(record, dict):
        raise InputError(source, line.strip(), expected)
    for name in ("prompt", "visual_input"):
        if not isinstance(record.get(name) or "", str):
            raise InputError(source, f"{name} = {record[name]!r}", expected)
    return record


def _locate(name: str, folder: Path) -> Path:
    """A path of a line, as it is seen from the working directory or else from the file."""
    path = Path(name).expanduser()
    return folder / path if not path.exists() and (folder / path).exists() else path


def _scene(path: Path, prompt: str, moving: bool) -> SceneInput:
    if not path.exists():
        expected = "a video or a folder of one" if moving else "a picture or a folder of pictures"
        raise InputError(path, "no such file or folder", expected)
    return SceneInput(_key(path, prompt), path, prompt)


def _key(path: Path | None, prompt: str) -> str:
    parts = []
    if path is not None:
        named = path.resolve()
        named = named.parent if named.stem in ANONYMOUS else named
        # The name of a folder has no suffix, though it may have a dot.
        stem = named.name if named.is_dir() else named.stem
        parts.append(_shortened(stem.lstrip("."), LONGEST_STEM))
    if prompt:
        words = re.sub(r"[^a-z0-9]+", "_", prompt.lower())[:LONGEST_PROMPT].strip("_")
        parts += [word for word in (words, _digest(prompt)) if word]
    return "_".join(parts)


def _shortened(stem: str, longest: int) -> str:
    if len(stem.encode()) <= longest:
        return stem or "scene"
    return stem.encode()[:longest].decode(errors="ignore") + "_" + _digest(stem)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _distinct(scenes: list[SceneInput]) -> list[SceneInput]:
    """The scenes; where keys are alike, each is followed by a digest of the scene's path."""
    # File systems may not tell upper from lower case.
    counts = Counter(scene.key.casefold() for scene in scenes)
    renamed = [
        scene
        if counts[scene.key.casefold()] == 1
        else replace(scene, key=f"{scene.key}_{_digest(str(scene.path))}")
        for scene in scenes
    ]
    counts = Counter(scene.key.casefold() for scene in renamed)
    for scene in renamed:
        if counts[scene.key.casefold()] > 1:
            value = f"{scene.path or scene.prompt!r} more than once"
            raise InputError("input", value, "every scene once")
    return renamed
