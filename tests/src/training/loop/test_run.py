"""The loop on a toy: steps, checkpoints, resuming, failures."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from linear_task import WEIGHTS, LinearTask, Points, elsewhere, losses, steps
from safetensors.torch import load_file

from src.runtime import InputError
from src.training.loop.journal import NonFiniteStep, read_journal
from src.training.loop.run import train
from src.training.optim import OptimConfig
from src.training.settings import LoopConfig
from src.training.task import Progress, Share

OPTIM = OptimConfig(learning_rate=1e-2, warmup_steps=3)
FAST = replace(OPTIM, learning_rate=5e-2)


def test_training_lowers_the_loss_and_writes_what_it_says(loop: LoopConfig) -> None:
    """A loop that never updates, skips checkpoints, or forgets to keep its settings."""
    last = train(LinearTask(size=16, noise=0), replace(loop, max_steps=60), FAST, "seed: 1\n")
    assert last == 60
    found = losses(loop.output_dir)
    assert len(found) == 60
    assert sum(found[-10:]) < 0.5 * sum(found[:10])
    assert steps(loop.output_dir) == [f"checkpoint-{step}" for step in (52, 54, 56, 58, 60)]
    assert (Path(loop.output_dir) / "config.yaml").read_text() == "seed: 1\n"


@pytest.mark.parametrize("ema", [False, True])
def test_a_run_in_pieces_is_the_run_in_one_to_the_bit(loop: LoopConfig, ema: bool) -> None:
    """Anything that a checkpoint forgets: moments, counters, generators, position, average."""
    whole = elsewhere(loop, "whole", ema=ema, max_steps=9)
    train(LinearTask(), whole, OPTIM)
    pieces = elsewhere(loop, "pieces", ema=ema, max_steps=9, stop_after=4)
    assert [train(LinearTask(), pieces, OPTIM) for _ in range(3)] == [4, 8, 9]
    assert losses(whole.output_dir) == losses(pieces.output_dir)
    for name in (WEIGHTS, *(["average.safetensors"] if ema else [])):
        one, other = (
            load_file(Path(run.output_dir) / "checkpoint-9" / name) for run in (whole, pieces)
        )
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_lost_steps_are_made_again_alike(loop: LoopConfig) -> None:
    """A journal that keeps both versions of a step, and a resume from elsewhere than the newest."""
    whole = elsewhere(loop, "whole", max_steps=8, checkpoint_every=3)
    train(LinearTask(), whole, OPTIM)
    # The sample of step 6 fails once: steps 4 and 5 came after the checkpoint and are lost.
    broken = elsewhere(loop, "broken", max_steps=8, checkpoint_every=3)
    with pytest.raises(NonFiniteStep):
        train(LinearTask(bad=11), broken, OPTIM)
    assert steps(broken.output_dir) == ["checkpoint-3"]
    assert len(losses(broken.output_dir)) == 5
    train(LinearTask(), broken, OPTIM)
    assert losses(whole.output_dir) == losses(broken.output_dir)


def test_a_loss_that_is_not_a_number_stops_and_saves_the_keys(loop: LoopConfig) -> None:
    """An update with NaN, which ruins the weights, or a stop that does not say why."""
    with pytest.raises(NonFiniteStep, match="step 4"):
        train(LinearTask(bad=7), loop, OPTIM)
    record = json.loads((Path(loop.output_dir) / "failed" / "step-4-rank-0.json").read_text())
    assert record["keys"] == ["6", "7"]
    assert record["terms"]["loss"] == "nan"
    assert steps(loop.output_dir) == ["checkpoint-2"]


def test_accumulated_batches_are_one_large_batch(loop: LoopConfig) -> None:
    """Gradients that are summed instead of averaged, or updates after every batch."""
    large = elsewhere(loop, "large")
    train(LinearTask(size=6, noise=0), large, OPTIM)
    small = elsewhere(loop, "small")
    train(LinearTask(size=2, noise=0), small, replace(OPTIM, accumulation_steps=3))
    torch.testing.assert_close(
        torch.tensor(losses(large.output_dir)), torch.tensor(losses(small.output_dir))
    )
    norms = [
        [record["gradient_norm"] for record in read_journal(Path(run.output_dir))]
        for run in (large, small)
    ]
    torch.testing.assert_close(*map(torch.tensor, norms))


def test_a_truncated_checkpoint_is_passed_over_and_said_so(
    loop: LoopConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that starts anew, fails, or removes a checkpoint because it cannot be read."""
    whole = elsewhere(loop, "whole", max_steps=8)
    train(LinearTask(), whole, OPTIM)
    train(LinearTask(), loop, OPTIM)
    damaged = Path(loop.output_dir) / "checkpoint-6" / "optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    size = damaged.stat().st_size
    train(LinearTask(), replace(loop, max_steps=8), OPTIM)
    assert "checkpoint-6 cannot be used" in caplog.text
    assert losses(whole.output_dir) == losses(loop.output_dir)
    # The new checkpoint of step 6 took the name; the damaged one is still there.
    kept = Path(loop.output_dir) / "damaged-checkpoint-6" / "optimizer.pt"
    assert kept.stat().st_size == size


def test_damage_that_keeps_the_size_is_found(loop: LoopConfig) -> None:
    """A checkpoint that is trusted for its file sizes alone."""
    train(LinearTask(), loop, OPTIM)
    weights = Path(loop.output_dir) / "checkpoint-6" / WEIGHTS
    weights.write_bytes(b"\xff" * weights.stat().st_size)
    assert train(LinearTask(), replace(loop, stop_after=1), OPTIM) == 5


def test_only_damaged_checkpoints_are_an_error(loop: LoopConfig) -> None:
    """A run that silently starts anew where all that was trained can't be read."""
    train(LinearTask(), replace(loop, max_steps=2), OPTIM)
    (Path(loop.output_dir) / "checkpoint-2" / "state.json").write_text("{")
    with pytest.raises(InputError, match="state.json"):
        train(LinearTask(), loop, OPTIM)
    assert steps(loop.output_dir) == ["checkpoint-2"]


def test_a_stage_continues_the_one_before_and_then_itself(loop: LoopConfig) -> None:
    """A stage that starts anew, that counts its steps from 0, or is handed over twice."""
    train(LinearTask(), loop, OPTIM)
    stage = elsewhere(loop, "stage", resume_dir=loop.output_dir, stage_steps=3, stop_after=2)
    assert train(LinearTask(), stage, OPTIM) == 8
    train(LinearTask(), replace(loop, max_steps=10), OPTIM)
    assert train(LinearTask(), stage, OPTIM) == 9
    assert train(LinearTask(), stage, OPTIM) == 9
    longer = elsewhere(loop, "longer", max_steps=9)
    train(LinearTask(), longer, OPTIM)
    assert losses(stage.output_dir) == losses(longer.output_dir)[6:]


def test_a_stage_without_a_source_is_an_error(loop: LoopConfig) -> None:
    """A later stage that silently starts from nothing."""
    missing = str(Path(loop.output_dir).parent / "missing")
    with pytest.raises(InputError, match="earlier stage"):
        train(LinearTask(), replace(loop, resume_dir=missing), OPTIM)


def test_validation_does_not_change_the_training(loop: LoopConfig) -> None:
    """Validation that draws from the generators of the training, or is never called."""
    train(LinearTask(), loop, OPTIM)
    task = LinearTask()
    other = elsewhere(loop, "other", validate_every=2)
    train(task, other, OPTIM)
    assert len(task.validations) == 3
    assert losses(loop.output_dir) == losses(other.output_dir)
    assert (Path(other.output_dir) / "validation" / "step-000004.png").is_file()


def test_figures_reach_the_tracker(loop: LoopConfig) -> None:
    """A tracker that is configured and never told anything."""
    pytest.importorskip("tensorboard")
    train(LinearTask(), replace(loop, tracker="tensorboard", validate_every=3), OPTIM)
    files = [*(Path(loop.output_dir) / "logs").rglob("events.*")]
    content = b"".join(file.read_bytes() for file in files)
    assert b"gradient_norm" in content
    assert b"validation" in content


def test_an_unknown_tracker_is_an_error(loop: LoopConfig) -> None:
    """A tracker that is silently left out for want of its package."""
    with pytest.raises(InputError, match="installed"):
        train(LinearTask(), replace(loop, tracker="nothing"), OPTIM)


def test_seldom_reports_change_nothing_but_the_reports(loop: LoopConfig) -> None:
    """Figures of the wrong steps, steps that no report has, or weights that depend on reports."""
    often, seldom = elsewhere(loop, "often"), elsewhere(loop, "seldom", report_every=4)
    often, seldom = replace(often, checkpoint_every=6), replace(seldom, checkpoint_every=6)
    for run in (often, seldom):
        train(LinearTask(), replace(run, max_steps=14), replace(OPTIM, accumulation_steps=2))
    records = read_journal(Path(seldom.output_dir))
    # Before each checkpoint and at the end, too.
    assert [record["step"] for record in records] == [4, 6, 8, 12, 14]
    single, start = read_journal(Path(often.output_dir)), 0
    for record in records:
        end = int(record["step"])
        for name in ("loss", "half", "gradient_norm"):
            mean = sum(other[name] for other in single[start:end]) / (end - start)
            assert record[name] == pytest.approx(mean)
        start = end
    one, other = (
        load_file(Path(run.output_dir) / "checkpoint-14" / WEIGHTS) for run in (often, seldom)
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_seldom_reports_still_find_what_is_not_a_number(loop: LoopConfig) -> None:
    """A checkpoint with ruined weights, or the keys of another step."""
    lazy = replace(loop, report_every=100, checkpoint_every=5, max_steps=20)
    with pytest.raises(NonFiniteStep, match="step 4"):
        train(LinearTask(bad=7), lazy, OPTIM)
    record = json.loads((Path(loop.output_dir) / "failed" / "step-4-rank-0.json").read_text())
    assert record["keys"] == ["6", "7"]
    assert steps(loop.output_dir) == []


def test_the_rate_falls_to_its_share_at_the_last_step(loop: LoopConfig) -> None:
    """A cosine over the steps of a job instead of the run's, or over those of earlier stages."""
    falling = replace(OPTIM, schedule="cosine", final_share=0.1, warmup_steps=0)
    stage = elsewhere(loop, "stage", resume_dir=loop.output_dir, stage_steps=8, stop_after=5)
    train(LinearTask(), loop, OPTIM)
    train(LinearTask(), stage, falling)
    train(LinearTask(), stage, falling)
    rates = [record["lr"] for record in read_journal(Path(stage.output_dir))]
    assert len(rates) == 8 and rates == sorted(rates, reverse=True)
    assert rates[3] == pytest.approx(0.55e-2)
    assert rates[-1] == pytest.approx(1e-3)


@dataclass
class Watching(LinearTask):
    """Notes how far the run is before each batch."""

    told: list[float] = field(default_factory=list)
    progress: Progress = lambda: -1.0

    def batches(self, share: Share, progress: Progress) -> Points:
        self.progress = progress
        return super().batches(share, progress)

    def keys(self, batch: list[int]) -> list[str]:
        self.told.append(self.progress())
        return super().keys(batch)


def test_batches_are_told_how_far_the_stage_is(loop: LoopConfig) -> None:
    """A share of the steps of a job or of all stages, or one that stands still within a step."""
    train(LinearTask(), loop, OPTIM)
    stage = elsewhere(loop, "stage", resume_dir=loop.output_dir, stage_steps=4, stop_after=3)
    jobs = [Watching(), Watching()]
    for job in jobs:
        train(job, stage, replace(OPTIM, accumulation_steps=2))
    assert [job.told for job in jobs] == [[part / 8 for part in range(6)], [6 / 8, 7 / 8]]


@dataclass
class Clock(LinearTask):
    """The time that a busy machine does not change: each batch takes a second."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def keys(self, batch: list[int]) -> list[str]:
        self.seconds += 1
        return super().keys(batch)


def test_a_limited_time_is_used_with_a_falling_rate(loop: LoopConfig) -> None:
    """A job without an end, without a last checkpoint, or whose rate has not fallen by then."""
    timed = replace(loop, max_steps=10**8, max_minutes=0.5, checkpoint_every=10**6)
    falling = replace(OPTIM, schedule="cosine", final_share=0.1, warmup_steps=0)
    clock = Clock(seconds=1000.0)
    last = train(clock, timed, falling, now=clock)
    rates = [record["lr"] for record in read_journal(Path(loop.output_dir))]
    assert last == 30 and steps(loop.output_dir) == ["checkpoint-30"]
    assert len(rates) == last and rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1e-2)
    assert rates[-1] < 0.11e-2
    # The minutes are those of a job; its last step is looked at on held-out samples, too.
    again = Clock()
    assert train(again, replace(timed, validate_every=10**7), falling, now=again) == 60
    assert len(again.validations) == 1


def test_a_run_of_limited_time_goes_on_in_other_jobs(loop: LoopConfig) -> None:
    """Jobs each of which begins the run's time anew."""
    settings = replace(loop, max_steps=10**8, checkpoint_every=10**6, total_minutes=0.75)
    falling = replace(OPTIM, schedule="cosine", final_share=0.0, warmup_steps=0)
    job = replace(settings, max_minutes=0.5)
    made = []
    for _ in range(3):
        clock = Clock(seconds=500.0)
        made.append(train(clock, job, falling, now=clock))
    assert made == [30, 45, 45]
    rates = [record["lr"] for record in read_journal(Path(loop.output_dir))]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[29] > rates[-1]


@dataclass
class WatchingClock(Clock, Watching):
    """Notes how far the run is, by a clock that each batch moves."""


def test_batches_are_told_the_share_of_the_time(loop: LoopConfig) -> None:
    """Data that begin anew in each job of a run that time limits, while its rate goes on."""
    job = replace(loop, max_steps=10**8, checkpoint_every=10**6, total_minutes=0.75)
    told = []
    for _ in range(2):
        clock = WatchingClock(seconds=500.0)
        train(clock, replace(job, max_minutes=0.5), OPTIM, now=clock)
        told += clock.told
    # The first batch of a second has passed before the next one is told.
    assert told == pytest.approx([second / 45 for second in range(45)], abs=0.5 / 45)
