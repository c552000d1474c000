"""Kill a job at random moments: `run.py --times 100 --what training`; see `harness.py`."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Before torch is imported, of which forks are made.
os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
sys.path[:0] = [str(path) for path in Path(__file__).resolve().parents[1:3]]

from kills.decoding import decoding_job  # noqa: E402
from kills.generation import generation_job  # noqa: E402
from kills.harness import kill_repeatedly  # noqa: E402
from kills.training import training_job  # noqa: E402

JOBS = {"training": training_job, "generation": generation_job, "decoding": decoding_job}


def main() -> int:
    """Parse the arguments, kill, say what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--what", choices=[*JOBS], default="training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one by default")
    parser.add_argument("--fork", action="store_true", help="save the time of imports")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        job = JOBS[arguments.what](folder)
        tally = kill_repeatedly(job, folder, arguments.times, arguments.seed, arguments.fork)
    sys.stdout.write(f"{arguments.what}: {tally}\n")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
