"""The record of a scene (`made_from.json`): its inputs, its settings, and its written files.

It grows with every file, so that a run that was stopped keeps the complete files of its last scene
when it is called again. Until the last file it says `"unfinished": true`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..io.atomic import remove
from ..io.json_object import read_json_object, write_json
from ..io.records import plain
from ..runtime import InputError

WAY_OUT = "overwrite=true replaces it, another out_dir_inference keeps both"


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

    @staticmethod
    def begin(path: Path, root: Path, made_from: Mapping[str, object], keep: bool) -> "SceneRecord":
        """Begins to write a scene; with `keep`, complete files of the same making stay."""
        stored: dict[str, Any] = {}
        if keep and path.is_file():
            try:
                stored = read_record(path)
            except InputError:
                # A damaged record counts as none: the scene is made anew.
                stored = {}
        if stored.get("made_from") != plain(made_from):
            # While files change, no record may describe the old ones.
            remove(path)
            return SceneRecord(path, root, made_from)
        names = [name for name in stored["files"] if (root / name).is_file()]
        kept = frozenset(root / name for name in names)
        return SceneRecord(path, root, made_from, kept=kept, written=names)

    def add(self, file: Path) -> None:
        """Notes that a file is complete."""
        self.written.append(str(file.relative_to(self.root)))
        self._write({"files": sorted(self.written), "unfinished": True})

    def finish(self) -> None:
        """Notes that the scene is complete."""
        self._write({"files": sorted(self.written)})

    def _write(self, content: Mapping[str, object]) -> None:
        write_json(self.path, {"made_from": self.made_from, **content})


def read_record(path: Path) -> dict[str, Any]:
    """Reads the record of a scene; `InputError` if it is another file."""
    record = read_json_object(path)
    if not isinstance(record.get("made_from"), dict) or not isinstance(record.get("files"), list):
        raise InputError(path, "no made_from and files", f"the record of a scene; {WAY_OUT}")
    return record


def meta_text(key: str) -> str:
    """Returns the content of a finished scene's meta file."""
    return json.dumps({"file_name": [key]}) + "\n"
