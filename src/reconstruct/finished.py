"""Finished scenes, and the scenes that other runs are making: none is made twice or mixed up.

Every scene has a record (`made_from.json`) with the digests of its clips and weights, its settings
and its written files. It grows with every file, so that a run that was stopped keeps the complete
files of its last scene when it is called again. Until the last file it says `"unfinished": true`.

A scene is locked while it is made. A run skips the scenes that another one is making, makes all
others, then waits for the other run and makes what is still missing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from ..io.atomic import remove
from ..io.clip.clip import ClipPaths
from ..io.json_object import read_json_object, write_json
from ..io.locks import HeldError, process_lock
from ..io.records import check_made_from, content_digest, plain, weights_digest
from ..models.recon.decoder import NOT_STORED
from ..runtime import InputError
from .clock import clocked
from .config import File, OutputConfig, OutputTree, ReconstructConfig
from .inputs import Scenes, find_decoder, find_tokenizer

# Files of a clip; its metadata does not change the results.
PARTS = ("rgb", "pose", "intrinsics", "latent", "depth")
# Settings of the output that don't change the files of a scene.
ELSEWHERE = {"folder", "finished", "grid", "grid_scenes"}
WAY_OUT = "overwrite=true replaces it, another out_dir_inference keeps both"
ONE_RUN = "one run at a time for each scene; wait for it, or choose another out_dir_inference"


@dataclass(frozen=True)
class FinishedScenes:
    """Compares scenes on disk with the ones that this run would make."""

    config: ReconstructConfig
    scenes: Scenes

    def record(self, index: int, time: int | None) -> dict[str, object]:
        """Returns the digests and settings of a scene; `InputError` if a file cannot be read."""
        key, clips = self.scenes.keys[index], {}
        for name in self.scenes.trajectories:
            paths = ClipPaths(self.scenes.root, name, key)
            present = [part for part in PARTS if paths.part(part).is_file()]
            clips[name] = {part: content_digest(paths.part(part)) for part in present}
        return plain({"scene": key, "time": time, "clips": clips} | self._shared)

    def unfinished(self, trees: Mapping[int | None, OutputTree], index: int) -> list[int | None]:
        """Returns the times at which a scene is still to be made.

        Raises:
            InputError: a finished scene was made from something else and must stay.
        """
        return [time for time, tree in trees.items() if not self._is_finished(tree, index, time)]

    def check_leftovers(self, tree: OutputTree) -> None:
        """Raises for a folder with scenes that this run does not have and would leave there."""
        keys = self.scenes.keys
        for path in sorted(tree.root.glob("meta/sample_*.json")):
            number = path.stem.removeprefix("sample_")
            index = int(number) if number.isascii() and number.isdecimal() else len(keys)
            if index < len(keys) and (
                self.config.output.finished != "refuse"
                or path.read_text(encoding="utf-8") == meta_text(keys[index])
            ):
                continue
            value = f"a scene of an earlier run ({path.read_text(encoding='utf-8').strip()})"
            expected = f"the {len(keys)} scenes of this run alone; another out_dir_inference"
            raise InputError(path, value, expected)

    def _is_finished(self, tree: OutputTree, index: int, time: int | None) -> bool:
        output = self.config.output
        if output.finished == "remake":
            return False
        path = made_from_path(output, tree, index, key=self.scenes.keys[index])
        try:
            if not self._is_complete(tree, index, path):
                return False
            stored = read_record(path)
            check_made_from(path, stored["made_from"], self.record(index, time), way_out=WAY_OUT)
        except InputError:
            if output.finished == "replace":
                return False
            raise
        return all((tree.root / name).is_file() for name in stored["files"])

    def _is_complete(self, tree: OutputTree, index: int, path: Path) -> bool:
        """Whether any run wrote the scene to its end; `InputError` if it left no record."""
        if self.config.output.eval_only:
            return path.is_file() and not read_record(path).get("unfinished")
        meta = tree.path(File.META, index)
        if not meta.is_file():
            return False
        # A run that makes the scene again removes the metadata first, then the record.
        if not path.is_file() and meta.is_file():
            raise InputError(meta, "a scene without a record of what it was made from", WAY_OUT)
        return path.is_file()

    @cached_property
    def _shared(self) -> dict[str, object]:
        """The part of the record that all scenes of a run share."""
        config = self.config
        decoder, output = asdict(config.decoder), asdict(config.output)
        if not output["ply_padded"]:
            # Records from before a setting mean its default.
            del output["ply_padded"]
        output["export_formats"] = sorted(output["export_formats"])
        if output["export_formats"] == ["ply"]:
            del output["export_formats"]
        return {
            "decoder": weights_digest(find_decoder(config.weights)),
            "tokenizer": weights_digest(find_tokenizer(config.weights)),
            "settings": {
                "decoder": {name: decoder[name] for name in sorted(decoder.keys() - NOT_STORED)},
                "render": asdict(config.render),
                "scenes": self.scenes.settings(),
                "output": {name: output[name] for name in sorted(output.keys() - ELSEWHERE)},
                "trunk_type": config.weights.trunk_type,
                "tokenizer_type": config.weights.tokenizer_type,
            },
        }


def made_from_path(config: OutputConfig, tree: OutputTree, index: int, key: str) -> Path:
    """Returns the path of a scene's record."""
    if config.eval_only:
        return tree.path(File.EVALUATION_MADE_FROM, key)
    return tree.path(File.MADE_FROM, index)


@dataclass(frozen=True)
class SceneRecord:
    """The record of a scene whose files are being written below `root`.

    `kept` are files that a stopped run wrote from the same inputs and settings.
    """

    path: Path
    root: Path
    made_from: Mapping[str, object]
    kept: frozenset[Path] = frozenset()
    written: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @staticmethod
    def begin(path: Path, root: Path, made_from: Mapping[str, object], keep: bool) -> "SceneRecord":
        """Begins to write a scene; with `keep`, complete files of the same making stay."""
        stored: dict[str, Any] = {}
        if keep and path.is_file():
            # A damaged record counts as none: the scene is made anew.
            with suppress(InputError):
                stored = read_record(path)
        if stored.get("made_from") != plain(made_from):
            # While files change, no record may describe the old ones.
            remove(path)
            return SceneRecord(path, root, made_from)
        names = [name for name in stored["files"] if (root / name).is_file()]
        kept = frozenset(root / name for name in names)
        return SceneRecord(path, root, made_from, kept=kept, written=names)

    def add(self, file: Path, write: Callable[[Path], object]) -> None:
        """Writes a file and notes that it is complete; several threads may do so at once."""
        with clocked(f"write {file.name}"):
            write(file)
        with self.lock:
            self.written.append(str(file.relative_to(self.root)))
            self._note({"unfinished": True})

    def finish(self) -> None:
        """Notes that the scene is complete."""
        self._note({})

    def _note(self, marks: dict[str, bool]) -> None:
        content = {"made_from": self.made_from, "files": sorted(self.written)}
        write_json(self.path, content | marks)


def read_record(path: Path) -> dict[str, Any]:
    """Reads the record of a scene; `InputError` if it is another file."""
    record = read_json_object(path)
    if not isinstance(record.get("made_from"), dict) or not isinstance(record.get("files"), list):
        raise InputError(path, "no made_from and files", f"the record of a scene; {WAY_OUT}")
    return record


def meta_text(key: str) -> str:
    """Returns the content of a finished scene's meta file."""
    return json.dumps({"file_name": [key]}) + "\n"


class Claim(NamedTuple):
    """A scene that is locked until `release` is called, and the times still to be made."""

    index: int
    times: list[int | None]
    release: Callable[[], None]


def claim_scenes(
    indices: Iterable[int],
    finished: FinishedScenes,
    trees: Mapping[int | None, OutputTree],
    stack: ExitStack,
    held: list[int] | None = None,
) -> Iterator[Claim]:
    """Yields the unfinished scenes, locked at all times until released or `stack` ends.

    The numbers of scenes that other runs hold are added to `held`; without it, this run waits for
    those scenes. `indices` have to grow, or two runs could wait for each other forever.
    """
    for index in indices:
        with ExitStack() as locks:
            try:
                for tree in trees.values():
                    path = tree.path(File.LOCK, index)
                    locks.enter_context(process_lock(path, ONE_RUN, wait=held is None))
            except HeldError:
                assert held is not None, "a lock that was waited for is held"
                held.append(index)
                continue
            # Another run may have made it since this one looked.
            times = finished.unfinished(trees, index)
            if not times:
                continue
            kept = locks.pop_all()
        stack.push(kept)
        yield Claim(index, times, kept.close)


def remove_leftovers(tree: OutputTree) -> None:
    """Removes the locks of runs that were killed."""
    for path in tree.root.glob("meta/.sample_*.lock"):
        with suppress(HeldError), process_lock(path, ONE_RUN):
            pass


def missing_files(tree: OutputTree, index: int, files: Iterable[Path]) -> list[Path]:
    """Returns the files of a scene that are gone, once no other run is making it again."""
    files = list(files)
    gone = [path for path in files if not path.is_file()]
    lock = tree.path(File.LOCK, index)
    if not gone or not lock.parent.is_dir():
        return gone
    with process_lock(lock, ONE_RUN, wait=True):
        return [path for path in files if not path.is_file()]
