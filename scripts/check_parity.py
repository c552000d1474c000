"""Compare our code with the original's results: `python scripts/check_parity.py DIR [DIR ...]`.

A DIR is a fixture folder (`fixture.json`, `tensors.safetensors`) or a folder of such folders. Every
fixture prints one line: its status, name, kind, and the output closest to (or farthest beyond) its
tolerance, as `||ours - reference|| / ||reference||`. The exit code is 0 only if all of them pass; a
kind that is not supported, or a value of the configuration that is not, counts as a failure.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

MAX_THREADS = 8


def fix_rounding() -> None:
    """Has MKL round as on the machine that recorded the data; called before torch is imported.

    MKL's kernels for newer processors differ in the last place of a logarithm, and by 1e-4 after a
    few steps of an optimisation.
    """
    os.environ.setdefault("MKL_CBWR", "AVX2")


def main() -> int:
    """Run the fixtures and print their lines; returns 1 unless all pass."""
    parser = manual_parser(__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--kind", action="append", help="run this kind only; may be repeated")
    parser.add_argument("--verbose", action="store_true", help="print a line for every output too")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if not folder.is_dir():
            parser.error(f"{folder}: no such folder")

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    fix_rounding()
    import torch
    from parity.runner import find_fixtures, load_kinds, run_fixture

    # Small tensors: more threads only wait for each other. True float32 products throughout.
    torch.set_num_threads(min(torch.get_num_threads(), MAX_THREADS))
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    kinds, results = load_kinds(), []
    for folder in find_fixtures(arguments.folders):
        result = run_fixture(folder, kinds, arguments.kind)
        if result is None:
            continue
        results.append(result)
        print(result, flush=True)
        for check in result.checks if arguments.verbose else ():
            print(f"    {check}", flush=True)
    if not results:
        wanted = f" of kind {arguments.kind}" if arguments.kind else ""
        parser.error(f"no fixture{wanted} in {[str(folder) for folder in arguments.folders]}")
    passed = sum(result.passed for result in results)
    print(f"{passed} of {len(results)} fixtures pass")
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    run_entry(main, "check_parity.py")
