"""The published commands at their full size, on stand-ins: seconds, memory, and what they wrote.

    python tests/published/standins.py --size full --folder DIR --without t5 lpips demo
    python tests/published/full_size.py --folder DIR --out REPORT.json

Runs, one after the other, check_weights.py (where there is one), both generator commands with
`--multi_trajectory`, and sample.py with both demo configurations; a failure stops none of the
others but those that need its results. What ended well in REPORT.json is not run again, so that a
second call goes on; the generator's commands go on clip by clip. Each command's output lies beside
the report. Clips and scenes go below DIR/outputs, DIR/RESULT is a small result of ViPE.

`--size tiny` does the same with the tiny stand-ins, for a look on a CPU.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]


def main() -> int:
    """Parse the arguments, run the steps, return how many failed."""
    from published.full_steps import Run, run_steps
    from published.layout import SIZES
    from published.measured import Measurements

    from src.entry import manual_parser

    parser = manual_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="of the stand-ins")
    parser.add_argument("--out", type=Path, required=True, help="the report")
    parser.add_argument("--size", choices=[*SIZES], default="full")
    parser.add_argument("--num_steps", type=int, default=1, help="of the sampler (%(default)s)")
    parser.add_argument("--depth", default="auto", help="of the picture (%(default)s)")
    parser.add_argument("--only", nargs="*", help="steps by name (default: all)")
    parser.add_argument("--longest", type=float, default=540, help="seconds of all together")
    parser.add_argument("--generator", nargs="*", default=[], help="more flags, FLAG=VALUE")
    parser.add_argument("--sample", nargs="*", default=[], help="more settings of sample.py")
    given = parser.parse_args()
    run = Run(
        folder=given.folder.resolve(),
        size=SIZES[given.size],
        num_steps=given.num_steps,
        depth=given.depth,
        generator=tuple(f"--{flag.lstrip('-')}" for flag in given.generator),
        sample=tuple(given.sample),
    )
    measurements = Measurements(given.out.resolve(), REPOSITORY, _environment(run.folder))
    return run_steps(run, measurements, given.only, given.longest)


def _environment(folder: Path) -> Mapping[str, str]:
    """That of this process, with a stand-in of MoGe's package where it is not installed."""
    from published.depth_file import installed, write_package

    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not installed():
        paths = [str(write_package(folder / "packages")), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


if __name__ == "__main__":
    sys.exit(main())
