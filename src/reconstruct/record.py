"""The record of a scene (`made_from.json`): what it was made from, and which files are written.

It grows with every file, so that a run that is called again after it was stopped keeps the files
of the scene in flight that were complete. Until the last file it says `"unfinished": true`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..io.atomic import remove
from ..io.json_object import read_json_object, write_json
from ..io.records.made_from import plain
from ..runtime import InputError

WAY_OUT = "overwrite=true replaces it, another out_dir_inference keeps both"


@dataclass(frozen=True)
class SceneRecord:
    """The record of a scene whose files are being written below `root`.

    `kept` are files that an earlier run wrote, from the same as this one, before it was stopped.
    """

    path: Path
    root: Path
    made_from: Mapping[str, object]
    kept: frozenset[Path] = frozenset()
    written: list[str] = field(default_factory=list)

    @staticmethod
    def begin(path: Path, root: Path, made_from: Mapping[str, object], keep: bool) -> "SceneRecord":
        """Begin to write a scene; `keep` what is complete and of the same making, or nothing."""
        stored = _stored(path) if keep else {}
        if stored.get("made_from") != plain(made_from):
            # While files change, nothing tells of the old ones.
            remove(path)
            return SceneRecord(path, root, made_from)
        names = [name for name in stored["files"] if (root / name).is_file()]
        return SceneRecord(path, root, made_from, frozenset(root / name for name in names), names)

    def add(self, file: Path) -> None:
        """Note that a file is complete."""
        self.written.append(str(file.relative_to(self.root)))
        self._write({"files": sorted(self.written), "unfinished": True})

    def finish(self) -> None:
        """Note that the scene is complete."""
        self._write({"files": sorted(self.written)})

    def _write(self, content: Mapping[str, object]) -> None:
        write_json(self.path, {"made_from": self.made_from, **content})


def read_record(path: Path) -> dict[str, Any]:
    """The record of a scene; `InputError` for another file of its name."""
    record = read_json_object(path)
    if not isinstance(record.get("made_from"), dict) or not isinstance(record.get("files"), list):
        raise InputError(path, "no made_from and files", f"the record of a scene; {WAY_OUT}")
    return record


def _stored(path: Path) -> dict[str, Any]:
    """The record of an earlier run; empty where there is none to go on with."""
    if not path.is_file():
        return {}
    try:
        return read_record(path)
    except InputError:
        # The scene is made as if nothing were there.
        return {}
