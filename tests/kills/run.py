"""Kill a job at random moments: `run.py --times 100 --what training`; see `harness.py`."""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(path) for path in Path(__file__).resolve().parents[1:3]]

from kills.harness import kill_repeatedly  # noqa: E402
from kills.training import training_job  # noqa: E402

JOBS = {"training": training_job}


def main() -> int:
    """Parse the arguments, kill, say what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--what", choices=[*JOBS], default="training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        job = JOBS[arguments.what](folder)
        tally = kill_repeatedly(job, folder, arguments.times, arguments.seed)
    sys.stdout.write(f"{arguments.what}: {tally}\n")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
