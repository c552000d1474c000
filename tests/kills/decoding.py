"""`sample.py` as a job that is killed: three scenes of tiny clips, a tiny decoder.

The undisturbed run takes some seconds, all but half of one of them imports. A scene is finished
when `meta/` names it; a file of a scene in flight when the scene's record names it. A killed call
leaves a temporary file at most, beside the scene that it was writing.
"""

import json
from pathlib import Path

from kills.harness import KilledJob
from tiny_scene import write_tiny_input

SCENES = 3


def decoding_job(folder: Path) -> KilledJob:
    """Scenes of clips that are written into `folder` first."""
    tiny = write_tiny_input(folder / "input", scenes=SCENES)

    def command(out: Path) -> list[str]:
        return ["sample.py", *tiny.arguments(f"out_dir_inference={out}", "save_grid=true")]

    def finished(out: Path) -> dict[str, list[Path]]:
        root, done = tiny.results(out), {}
        for index in range(SCENES):
            record = root / f"scenes/{index}/made_from.json"
            written = json.loads(record.read_text())["files"] if record.is_file() else []
            done |= {f"{index} {name}": [root / name] for name in written}
            meta = root / f"meta/sample_{index}.json"
            done |= {f"{index} meta": [meta, record]} if meta.is_file() else {}
        return done

    return KilledJob(command, finished, Path.read_bytes)
