"""A copy of the repository as a stranger has it, in which the commands of README.md are run.

Nothing in a command is replaced: what README calls RESULT/rgb/CLIP.mp4 or CLIPS is put there. Only
the environment differs (the hub is on this machine, the accepted checksums are those of the
stand-ins, the virtual environment is on the path), and one key of configs/training, see
`shrink_settings`.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processes import living
from published.depth_file import installed, write_package
from published.layout import FOLDERS, Standins
from published.scenes import VIDEO, ClipsSize

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE_KEY = re.compile(r"^img_size: .*$", re.MULTILINE)
LONGEST = 900


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit status, what it said, seconds by the clock and of the CPU."""

    command: str
    status: int
    output: str
    seconds: float
    cpu_seconds: float


@dataclass
class Rehearsal:
    """The copy at `folder`; `done` has the commands that were run."""

    folder: Path
    environment: Mapping[str, str]
    done: list[Done] = field(default_factory=list)

    def run(self, command: str, until: Callable[[], bool] | None = None, **variables: str) -> Done:
        """Run one command in bash; told to stop (SIGTERM to all its processes) when `until` holds.

        The variables are set besides the environment's.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        with (self.folder / "log").open("w+") as log:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env={**self.environment, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._wait(process, until, begun)
            log.seek(0)
            output = log.read()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        done = Done(command, process.returncode, output, time.monotonic() - begun, cpu)
        self.done.append(done)
        words = f"{done.seconds:5.0f} s, {cpu:4.0f} s of CPU, status {done.status}: {command}\n"
        sys.stderr.write(words)
        return done

    def _wait(
        self, process: subprocess.Popen, until: Callable[[], bool] | None, begun: float
    ) -> None:
        told = False
        # A launcher that is told to stop goes at once, what it launched finishes its step.
        while process.poll() is None or living(process.pid, "group"):
            if time.monotonic() - begun > LONGEST:
                os.killpg(process.pid, signal.SIGKILL)
            elif until is not None and not told and until():
                told = True
                os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.1)


def copy_repository(folder: Path) -> None:
    """Clone the last commit, then put the tracked files of the working tree over it."""
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{REPOSITORY}", folder], check=True
    )
    listed = ["git", "ls-files", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        source, target = REPOSITORY / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def shrink_settings(folder: Path, size: ClipsSize) -> None:
    """Give all stages of the decoder the size of the stand-ins' pictures, and change nothing else.

    The published size stands in these files alone, and it takes a GPU.
    """
    for path in (folder / "configs" / "training").glob("*.yaml"):
        text = path.read_text()
        path.write_text(SIZE_KEY.sub(f"img_size: [{size.height}, {size.width}]", text))


def place_inputs(folder: Path, made: Standins) -> None:
    """What README's placeholders stand for: RESULT/rgb/CLIP.mp4, and the CLIPS to train on."""
    source = next(iter(made.datasets.values())) / "dynamic" / "diffusion_input"
    for path in source.rglob(f"{VIDEO}.*"):
        target = folder / "RESULT" / path.relative_to(source).with_stem("CLIP")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "CLIPS").symlink_to("outputs/clips/static")


def accept_checksums(checkpoints: Path, made: Standins) -> None:
    """Write the list that a user's `--accept` would leave, of the stand-ins' checksums."""
    accepted = {}
    for name in (*FOLDERS, "lpips"):
        for path in sorted((made.checkpoints / name).glob("*")):
            digest = hashlib.md5(path.read_bytes()).hexdigest()
            accepted[f"{name}/{path.name}"] = f"md5:{digest}"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "accepted_checksums.json").write_text(json.dumps(accepted))


def user_environment(hub: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of a user: the hub's, the virtual environment, no variables of a test's."""
    kept = {name: value for name, value in hub.items() if name != "PYTHONPATH"}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    kept["CUDA_VISIBLE_DEVICES"] = ""
    # Where tests run beside each other, each has one core.
    kept.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    # Threads that wait without work would take the cores from other programs.
    kept["GOMP_SPINCOUNT"] = "1000"
    if not installed():
        kept["PYTHONPATH"] = str(write_package(folder))
    return kept
