"""Weights of trainings, ready for use: `export_nano.py weights RUN FOLDER`, `... release`.

    export_nano.py weights outputs/nano/training/depth outputs/nano/depth
    export_nano.py release outputs/nano assets/nano [--dtype float16]

`weights` writes the newest checkpoint of any `train.py` run (its moving average, if it kept one) as
the folder that the commands read. `release` writes tokenizer, generator, depth and both decoders in
half precision, under 40 MB, with a model card; figures of OUTPUT/evaluation are quoted in it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Parse the arguments, write, say where."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True)
    weights = commands.add_parser("weights", help="of one training")
    weights.add_argument("source", type=Path, metavar="RUN")
    weights.add_argument("target", type=Path, metavar="FOLDER")
    weights.add_argument("--raw", action="store_true", help="not the moving average")
    everything = commands.add_parser("release", help="of all parts")
    everything.add_argument("source", type=Path, metavar="OUTPUT")
    everything.add_argument("target", type=Path, metavar="FOLDER")
    types = ("float16", "bfloat16", "float32")
    everything.add_argument("--dtype", choices=types, default="float16")
    arguments = parser.parse_args()

    import torch

    from nano.release import export_weights, release
    from src.runtime import InputError

    try:
        if arguments.command == "release":
            dtype = getattr(torch, arguments.dtype)
            print(f"{release(arguments.source, arguments.target, dtype)} is the model card")
            return 0
        origin = export_weights(arguments.source, arguments.target, not arguments.raw)
        print(f"{arguments.target}: step {origin.step}{', averaged' * origin.averaged}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
