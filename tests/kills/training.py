"""A training of the decoder as a job that is killed: `train.py` on tiny clips, with a worker."""

import json
from pathlib import Path

from kills.harness import KilledJob
from tiny_scene import TinyInput, write_tiny_input
from tiny_training import training_arguments

from src.checkpoints.steps import OWN_DIGEST, STATE, defect, list_checkpoints, step_of
from src.training.loop.journal import DAMAGED, JOURNAL, read_journal

STEPS, CHECKPOINTS, VALIDATIONS = 16, 2, 4
# Of a step, what depends on the machine.
TIMES = ("seconds_", "samples_per_second")


def training_job(folder: Path) -> KilledJob:
    """A training on clips that are written into `folder` first."""
    tiny = write_tiny_input(folder / "input", scenes=3)
    return KilledJob(lambda out: _command(tiny, out), _finished, _content, (DAMAGED,))


def _command(tiny: TinyInput, out: Path) -> list[str]:
    settings = [
        f"resume_pretrained_model_ckpt={tiny.checkpoint}",
        *(f"max_train_steps={STEPS}", f"checkpointing_steps={CHECKPOINTS}"),
        *("num_test_scenes=1", f"loop.validate_every={VALIDATIONS}", "loop.keep_last=3"),
        *("use_ema=true", "num_workers=1"),
    ]
    return ["train.py", *training_arguments(tiny, out, *settings)]


def _finished(out: Path) -> dict[str, list[Path]]:
    """Sound checkpoints, and validations whose figures are written and not lost with a step."""
    folders = [folder for folder in list_checkpoints(out) if defect(folder, True) is None]
    found = {
        folder.name: [path for path in folder.iterdir() if path.is_file()] for folder in folders
    }
    newest = step_of(folders[-1]) if folders else 0
    records = read_journal(out) if (out / JOURNAL).is_file() else []
    for record in records:
        if "validation_psnr" in record and record["step"] <= newest:
            name = f"step-{int(record['step']):06}.png"
            found[name] = [out / "validation" / name]
    return found


def _content(path: Path) -> bytes:
    """A file without times and without the folder's name."""
    if path.name == JOURNAL:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [{k: v for k, v in r.items() if not k.startswith(TIMES)} for r in records]
        return json.dumps(kept).encode()
    if path.name == STATE:
        state = json.loads(path.read_text())
        kept = {k: v for k, v in state.items() if k not in ("minutes", OWN_DIGEST)}
        return json.dumps(kept).encode()
    if path.name == "config.yaml":
        return path.read_bytes().replace(str(path.parent).encode(), b"OUT")
    return path.read_bytes()
