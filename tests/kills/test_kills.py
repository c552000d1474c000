"""A few kills of every job; `run.py` makes many."""

import subprocess
import sys
from pathlib import Path

import pytest
from kills.harness import KilledJob, kill_repeatedly
from kills.run import JOBS

SLOW_WRITER = """
import pathlib, sys, time
out = pathlib.Path(sys.argv[1]); out.mkdir(exist_ok=True); (out / "begun").touch()
for name in "abc":
    path = out / name
    if not path.exists() or REPEATS:
        with path.open("w") as file:
            for _ in range(10):
                print(name, file=file, flush=True); time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "times"),
    [("training", ["3", "--fork"]), ("generation", ["8", "--fork"]), ("decoding", ["8", "--fork"])],
    ids=[*JOBS],
)
def test_a_killed_job_loses_nothing(what: str, times: list[str], tmp_path: Path) -> None:
    """Half-written results that pass for finished, work that is lost, or that is done twice."""
    line = [sys.executable, str(Path(__file__).with_name("run.py")), "--what", what, "--seed", "1"]
    line += ["--folder", str(tmp_path), "--times", *times]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{times[0]} kills" in done.stdout and " 0 faults" in done.stdout


@pytest.mark.parametrize(("repeats", "fault"), [(False, "and is not"), (True, "made again")])
def test_the_harness_sees_faults(tmp_path: Path, repeats: bool, fault: str) -> None:
    """A harness that finds nothing in jobs that keep half a file, or begin from the start."""
    program = tmp_path / "writer.py"
    program.write_text(SLOW_WRITER.replace("REPEATS", str(repeats)))

    def finished(out: Path) -> dict[str, list[Path]]:
        return {name: [out / name] for name in "abc" if (out / name).exists()}

    job = KilledJob(
        lambda out: [str(program), str(out)],
        finished,
        Path.read_bytes,
    )
    tally = kill_repeatedly(job, tmp_path, times=10, seed=3)
    assert any(fault in said for said in tally.faults), str(tally)
