"""The scenes of a run: a picture or video each, or a prompt alone, and the names of their clips.

A folder stands for the pictures, the videos or the clips of a ViPE result that it holds. A name is
the stem of the input, then the prompt if there is one, with a digest, because prompts do not fit
into file names. It depends on the names of the inputs and on where they lie relative to each other,
but not on the working directory or on the targets of links.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src.depth.backends.vipe import list_clips
from src.io.image import find_images, find_videos, image_size, is_picture, is_video
from src.io.json_object import parse_json
from src.io.video.video import video_info
from src.runtime import InputError

from ..config import InputConfig
from .posed_video import FOLDER_FILES, video_kind

STATIC, DYNAMIC = "gen3c_single_image_sdg.py", "gen3c_dynamic_sdg.py"
LONGEST_STEM = 80
LONGEST_PROMPT = 40
# File names that say nothing without their folder.
ANONYMOUS = ("rgb",)
# Bytes that are not UTF-8 (Python keeps them as lone surrogates), and control characters.
UNSAFE = re.compile(r"[\ud800-\udfff\x00-\x1f\x7f]")


@dataclass(frozen=True)
class SceneInput:
    """One scene: the name of its clips, its picture or video (None: to be made), its prompt."""

    key: str
    path: Path | None
    prompt: str = ""


def scene_inputs(config: InputConfig, moving: bool) -> list[SceneInput]:
    """Returns the scenes of a run, with distinct keys.

    Raises:
        InputError: no input, or several contradicting ones; a file or folder that is missing or
            empty; a malformed line; the same scene twice; one depth file for several pictures.
    """
    _check_text("--prompt", config.prompt)
    scenes = _distinct(list(_listed(config, moving)))
    if config.depth != "auto" and Path(config.depth).suffix and len(scenes) > 1:
        expected = f"a backend by name for {len(scenes)} inputs"
        raise InputError("--depth", config.depth, expected)
    return scenes


def check_input(path: Path, config: InputConfig, moving: bool) -> None:
    """Refuse an input that no clip can be made of, before any network is loaded.

    Only headers are read, so that thousands of inputs take seconds.

    Raises:
        InputError: it is missing, unreadable, or of a kind that another flag or command takes.
    """
    if not moving:
        if is_video(path):
            raise InputError(path, "a video", f"a picture; videos go to {DYNAMIC}")
        image_size(path)
        return
    if is_picture(path):
        raise InputError(path, "a picture", f"a video; pictures go to {STATIC}")
    if video_kind(path) != "video" or not path.is_file():
        return
    if config.vipe is not None:
        expected = "a result of ViPE (rgb/CLIP.mp4 beside pose/CLIP.npz); --input_image_path"
        raise InputError(f"--vipe_path {path}", "a plain video", f"{expected} takes plain videos")
    video_info(path)


def _listed(config: InputConfig, moving: bool) -> Iterator[SceneInput]:
    """Yield the scenes, whose keys may still be alike."""
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
        yield SceneInput(scene_name(None, config.prompt), None, config.prompt)
        return
    path = _expanded(value, value)
    if not path.exists():
        kind = "video" if moving else "picture"
        expected = f"a {kind} or a folder of {kind}s"
        raise InputError(path, "no such file or folder", expected)
    yield from _scenes(path, config.prompt, moving, posed=config.vipe is not None)


def _read_lines(path: Path, prompt: str, moving: bool) -> Iterator[SceneInput]:
    """Yield the scenes of a JSONL file; a line's own prompt replaces `prompt`."""
    expected = '{"prompt": TEXT, "visual_input": PATH}, one a line'
    try:
        # Only \n ends a line: JSON strings may hold other characters at which Python splits.
        lines = path.expanduser().read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
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
        found = _locate(source, visual, path.parent) if visual else None
        if found is not None and found.exists():
            yield from _scenes(found, text, moving, posed=False)
        else:
            # A missing file fails later, in the list of failures, and stops no other scene.
            yield SceneInput(scene_name(found, text), found, text)
    if records == 0:
        raise InputError(path, "no lines", expected)


def _parse(source: str, line: str, expected: str) -> dict[str, Any]:
    record = parse_json(source, line, expected)
    if not isinstance(record, dict):
        raise InputError(source, line.strip(), expected)
    for name in ("prompt", "visual_input"):
        if not isinstance(record.get(name) or "", str):
            raise InputError(source, f"{name} = {record[name]!r}", expected)
    _check_text(source, record.get("prompt") or "")
    return record


def _check_text(source: str, text: str) -> None:
    """Raise for lone surrogates, which no text encoder takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(source, ascii(text), "text of whole characters (UTF-8)") from error


def _expanded(source: str, name: str) -> Path:
    """Returns a user's path with `~` replaced; raises if the file system cannot look it up."""
    try:
        path = Path(name).expanduser()
        # `exists` returns False for a name with a zero byte, where `lstat` raises.
        path.lstat() if "\0" in name else path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(source, f"{ascii(name)[:200]} ({error})", "a path") from error
    return path


def _locate(source: str, name: str, folder: Path) -> Path:
    """Returns a line's path relative to the working directory, or else to the file's folder."""
    path = _expanded(source, name)
    return folder / path if not path.exists() and (folder / path).exists() else path


def _scenes(path: Path, prompt: str, moving: bool, posed: bool) -> Iterator[SceneInput]:
    """Yield the scene of an existing file, or the scenes of a folder."""
    for found in _held(path, moving, posed):
        yield SceneInput(scene_name(found, prompt), found, prompt)


def _held(path: Path, moving: bool, posed: bool) -> list[Path]:
    """Returns the path itself, or the inputs in a folder."""
    if not path.is_dir():
        return [path]
    if not moving:
        return find_images(path)
    if (path / FOLDER_FILES[0]).is_file():
        return [path]
    if (path / "rgb").is_dir():
        clips = list_clips(path)
        # A result of one clip is named after its folder.
        return clips if len(clips) > 1 else [path]
    return [path] if posed else find_videos(path)


def _distinct(scenes: list[SceneInput]) -> list[SceneInput]:
    """Returns the scenes with distinct keys; `InputError` for the same scene twice."""
    keys = distinct_names([scene.key for scene in scenes], [scene.path for scene in scenes])
    renamed = [replace(scene, key=key) for scene, key in zip(scenes, keys, strict=True)]
    counts = Counter(scene.key.casefold() for scene in renamed)
    for scene in renamed:
        if counts[scene.key.casefold()] > 1:
            value = f"{scene.path or scene.prompt!r} more than once"
            raise InputError("input", value, "every scene once")
    return renamed


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
