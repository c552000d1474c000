"""A training that is stopped, killed or damaged goes on and loses nothing."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from corpus import generated
from linear_task import WEIGHTS, LinearTask, Points, elsewhere, losses, steps
from safetensors.torch import load_file

from src.runtime import InputError
from src.training.checkpoints.files import read_checkpoint
from src.training.loop.interruption import Interrupted
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.optim import OptimConfig
from src.training.settings import LoopConfig
from src.training.task import Model, Progress, Share, Validation

OPTIM = OptimConfig(learning_rate=1e-2, warmup_steps=3)


@dataclass
class Told(LinearTask):
    """The process is told to stop by signal `number` while it reads the batch number 3."""

    number: int = signal.SIGTERM

    def batches(self, share: Share, progress: Progress) -> Points:
        points = ToldPoints(self.size, share, share.position)
        points.number = self.number
        return points


class ToldPoints(Points):
    at, number = 3, signal.SIGTERM

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            if self.position == self.at:
                os.kill(os.getpid(), self.number)
            yield batch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("report_every", [1, 4])
def test_a_run_that_is_told_to_stop_loses_nothing(
    loop: LoopConfig, report_every: int, number: signal.Signals
) -> None:
    """A job that dies within a step, ends as if it were finished, or goes on otherwise."""
    whole = elsewhere(loop, "whole", max_steps=8)
    train(LinearTask(), whole, OPTIM)
    handler = signal.getsignal(number)
    told = elsewhere(loop, "told", max_steps=8, checkpoint_every=100, report_every=report_every)
    said = rf"told to stop \({number.name}\) at step 3; checkpoint-3 is written"
    with pytest.raises(Interrupted, match=said) as caught:
        train(Told(number=number), told, OPTIM)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == handler
    assert steps(told.output_dir) == ["checkpoint-3"]
    assert train(LinearTask(), told, OPTIM) == 8
    one, other = (
        load_file(Path(run.output_dir) / "checkpoint-8" / WEIGHTS) for run in (whole, told)
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


class KilledInValidation(LinearTask):
    """Its process ends in the middle of a validation."""

    def validate(self, model: Model, share: Share) -> Validation:
        raise KeyboardInterrupt


@pytest.mark.parametrize("last", [4, 8])
def test_a_validation_that_a_kill_prevented_is_made_up_for(loop: LoopConfig, last: int) -> None:
    """Figures and a picture that a resumed run never makes, makes twice, or makes of later weights.

    In the second case the run was killed after its last step.
    """
    whole = elsewhere(loop, "whole", validate_every=4, max_steps=8)
    train(LinearTask(), whole, OPTIM)
    killed = elsewhere(loop, "killed", validate_every=last, max_steps=8)
    with pytest.raises(KeyboardInterrupt):
        train(KilledInValidation(), killed, OPTIM)
    folder = Path(killed.output_dir)
    pictures = folder / "validation"
    pictures.mkdir()
    leftover = pictures / f".step-{last:06}~another host~1~0123abcd.png"
    leftover.write_bytes(b"half")
    task = LinearTask()
    for _ in range(2):
        assert train(task, replace(killed, validate_every=4), OPTIM) == 8
    assert len(task.validations) == 8 // last
    whole_records, records = (
        [record for record in read_journal(Path(run.output_dir)) if "validation_loss" in record]
        for run in (whole, killed)
    )
    assert records == whole_records[-len(records) :] and records[0]["step"] == last
    assert sorted(path.name for path in pictures.iterdir()) == [
        f"step-{step:06}.png" for step in range(last, 9, 4)
    ]


def test_validations_of_no_samples_are_not_a_fault(loop: LoopConfig) -> None:
    """A resumed run that reports what nobody measured."""
    task = LinearTask()
    task.validate = lambda model, share: Validation()
    for steps_ in (4, 6):
        train(task, replace(loop, validate_every=2, max_steps=steps_), OPTIM)
    assert len(losses(loop.output_dir)) == len(read_journal(Path(loop.output_dir))) == 6


DAMAGE = {"half": b'{"step": 4, "lo', "no text": b"\xff\xfe\n", "no object": b"[4]\n"}
DAMAGE |= {"deep": b"[" * 100_000 + b"\n", "no step": b'{"step": "4"}\n'}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_line_does_not_stop_a_resume(
    loop: LoopConfig, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that blocks its training for ever, or whose damage disappears in silence."""
    train(LinearTask(), replace(loop, max_steps=2), OPTIM)
    journal = Path(loop.output_dir) / "steps.jsonl"
    with journal.open("ab") as file:
        file.write(DAMAGE[kind])
    if kind != "half":
        with pytest.raises(InputError, match="steps.jsonl: got .* in line 3"):
            read_journal(Path(loop.output_dir))
    assert train(LinearTask(), loop, OPTIM) == 6
    assert "steps.jsonl: 1 damaged lines are set aside" in caplog.text
    assert len(losses(loop.output_dir)) == 6
    aside = Path(loop.output_dir) / "steps.damaged.jsonl"
    assert aside.read_bytes() == DAMAGE[kind].rstrip(b"\n") + b"\n"


@pytest.mark.parametrize("name", [WEIGHTS, "optimizer.pt", "random.pt", "average.safetensors"])
def test_a_flipped_bit_is_not_trained_on(
    loop: LoopConfig, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another number in weights, moments or generators, which all readers take for a number."""
    short = replace(loop, ema=True, max_steps=4)
    train(LinearTask(), short, OPTIM)
    path = Path(loop.output_dir) / "checkpoint-4" / name
    content = bytearray(path.read_bytes())
    content[-200 if name.endswith(".pt") else -2] ^= 1
    path.write_bytes(content)
    train(LinearTask(), replace(short, max_steps=6), OPTIM)
    assert "checkpoint-4 cannot be used" in caplog.text and f"{name} is damaged" in caplog.text
    whole = elsewhere(loop, "whole", ema=True)
    train(LinearTask(), whole, OPTIM)
    assert losses(whole.output_dir) == losses(loop.output_dir)


@pytest.mark.parametrize("name", ["optimizer.pt", "random.pt"])
def test_bombs_in_place_of_a_state_are_refused(loop: LoopConfig, name: str) -> None:
    """A file of a kilobyte that takes gigabytes when a training resumes."""
    train(LinearTask(), replace(loop, max_steps=2), OPTIM)
    folder = Path(loop.output_dir) / "checkpoint-2"
    state = json.loads((folder / "state.json").read_text())
    del state["sha256"]
    for make in generated.TORCH_BOMBS.values():
        make(folder / name)
        state["files"][name] = (folder / name).stat().st_size
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(InputError, match=rf"{name}: got"):
            read_checkpoint(folder, LinearTask().read_weights)


def test_many_unreadable_checkpoints_are_a_short_message(loop: LoopConfig) -> None:
    """An error that repeats torch's advice for each of ten checkpoints."""
    train(LinearTask(), loop, OPTIM)
    for step in (2, 4, 6):
        folder = Path(loop.output_dir) / f"checkpoint-{step}"
        state = json.loads((folder / "state.json").read_text())
        size = (folder / "random.pt").stat().st_size
        (folder / "random.pt").write_bytes(b"\xff" * size)
        del state["sha256"]
        (folder / "state.json").write_text(json.dumps(state))
    for step in (1, 3):
        shutil.copytree(folder, folder.with_name(f"checkpoint-{step}"))
    with pytest.raises(InputError, match="random.pt.*; and 2 more, expected") as caught:
        train(LinearTask(), loop, OPTIM)
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


@pytest.mark.parametrize("resume", [None, "checkpoint-2"])
def test_a_run_does_not_begin_before_checkpoints_of_another(
    loop: LoopConfig, resume: str | None
) -> None:
    """A second run whose checkpoints are rotated away, and a third that goes on from the first."""
    train(LinearTask(), loop, OPTIM)
    before = steps(loop.output_dir)
    with pytest.raises(InputError, match="checkpoint-6 of an earlier run.*latest"):
        train(LinearTask(), replace(loop, resume=resume), OPTIM)
    assert steps(loop.output_dir) == before
    assert train(LinearTask(), replace(loop, resume="checkpoint-6", max_steps=7), OPTIM) == 7
    fresh = elsewhere(loop, "fresh", resume=None)
    assert train(LinearTask(), fresh, OPTIM) == 6
