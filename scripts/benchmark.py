"""Measure the project's parts: `python scripts/benchmark.py [NAME ...] [--device cpu|cuda]`.

Each benchmark is a module of `scripts/benchmarks` with `run(device)`, which yields rows. Without
names every benchmark runs; `NAME:PART,PART` runs some parts of one that names its parts. Results
belong into `docs/performance.md`, with date and hardware.
"""

import importlib
import platform
import sys
from pathlib import Path

# Before `scripts/`, whose nano.py is not the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

# Modules that the benchmarks share.
SHARED = ("row", "inputs")


def main() -> None:
    """Run the benchmarks and print a line for each measurement."""
    folder = Path(__file__).parent / "benchmarks"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in SHARED)
    parser = manual_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    arguments = parser.parse_args()
    chosen = [name.partition(":") for name in arguments.names or names]
    unknown = sorted({name for name, _, _ in chosen} - set(names))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}, expected one of {names}")

    import torch

    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    threads = torch.get_num_threads()
    print(f"{device.type}: {hardware}; {threads} threads; torch {torch.__version__}")
    for name, _, parts in chosen:
        given = [parts.split(",")] if parts else []
        for row in importlib.import_module(f"benchmarks.{name}").run(device, *given):
            print(f"{name}: {row}", flush=True)


if __name__ == "__main__":
    run_entry(main, "benchmark.py")
