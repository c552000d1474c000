"""`--help` of every command answers at once."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PATTERNS = ("sample.py", "train.py", "scripts/*.py", "cosmos_predict1/diffusion/inference/*.py")
ENTRIES = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in PATTERNS
    for path in REPOSITORY.glob(pattern)
    if path.stem != "__init__"
)
HEAVY = "accelerate,diffusers,gsplat,fla,omegaconf,torch,transformers,gaussforge,fourdgs"


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_is_quick_and_imports_nothing_heavy(entry: str) -> None:
    """An entry that imports torch, or what imports it, before it has read its arguments."""
    blocker = REPOSITORY / "tests" / "block_imports.py"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(blocker), HEAVY, entry, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    # Processor time, since the wall clock measures what else the machine is doing.
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert seconds < 2


def test_the_entries_are_found() -> None:
    """A moved folder, which would leave the test above without a single case."""
    assert "scripts/check_environment.py" in ENTRIES
