"""scripts/setup.sh is idle when nothing changed, and says which step failed when one does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.depth.backends.moge import INSTALL

REPOSITORY = Path(__file__).resolve().parents[2]
SETUP = REPOSITORY / "scripts" / "setup.sh"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space in its name, with what setup.sh reads, without .venv."""
    root = tmp_path / "my checkout"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(SETUP, root / "scripts")
    shutil.copy(REPOSITORY / "constraints.txt", root)
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    return root


def run_setup(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a checkout's setup.sh from another folder, with an index that offers nothing."""
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(root), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        ["bash", str(root / "scripts" / "setup.sh"), *arguments],
        cwd=root.parent,
        env={**os.environ, **nowhere, **variables},
        capture_output=True,
        text=True,
    )


def test_a_second_run_does_no_step() -> None:
    """A set-up that asks pip again although nothing changed since it was last done."""
    if run_setup(REPOSITORY, "--check").returncode != 0:
        pytest.skip("this checkout's .venv was not made by scripts/setup.sh, or is out of date")
    stamp = REPOSITORY / ".venv" / "setup-stamp"
    before = stamp.stat().st_mtime_ns
    done = run_setup(REPOSITORY)
    assert done.returncode == 0, done.stderr
    # A step, such as one that calls pip, says its name.
    (line,) = done.stdout.splitlines()
    assert "up to date" in line and stamp.stat().st_mtime_ns == before


def test_a_failed_step_is_named_and_nothing_passes_for_done(checkout: Path) -> None:
    """A failed installation that ends with 0, without the step's name, or that leaves a stamp."""
    done = run_setup(checkout, PYTHON=sys.executable)
    assert done.returncode != 0
    assert "FAILED" in done.stderr
    assert "install torch==" in done.stderr.split("FAILED")[1]
    assert "TORCH_INDEX_URL" in done.stderr.split("FAILED")[1]
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert run_setup(checkout, "--check").returncode == 1


def test_a_missing_python_is_named(checkout: Path) -> None:
    """A silent fall-back to another Python than the one asked for."""
    done = run_setup(checkout, PYTHON="no-such-python")
    assert done.returncode != 0
    assert "no-such-python" in done.stderr
    assert "make .venv" in done.stderr.split("FAILED")[1]
    assert not (checkout / ".venv").exists()


def test_an_unknown_argument_is_refused(checkout: Path) -> None:
    """A mistyped --check that starts an installation."""
    done = run_setup(checkout, "--chek")
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_moge_is_installed_as_the_error_says() -> None:
    """A line that installs another MoGe than the tested one, or drags torchvision along."""
    step = next(line for line in SETUP.read_text().splitlines() if "dlr-moge dlr-utils3d" in line)
    named = step.rpartition("constraints.txt")[2].strip('" ').split()
    assert "--no-deps" in step and "--constraint" in step
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().split()
        if "==" in line
    )
    *words, last = INSTALL.removeprefix("pip install --no-deps ").split()
    assert words == [f"{name}=={pins[name]}" for name in named[:-1]]
    assert last == named[-1] and last in pins
    assert INSTALL in (REPOSITORY / "README.md").read_text()
