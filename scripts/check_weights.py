"""Say what lies in a checkpoint folder: `python scripts/check_weights.py CHECKPOINTS [options]`.

One line for each finding, beginning with `ok`, `note`, `missing` or `wrong`: which file holds a
part, its format, how many tensors of which type, which names and shapes do not fit; what each
command lacks; the result of a tiny forward of each part that fits. Names and shapes come from the
headers, nothing in a file is executed, and no large file is read whole. The exit code is 1 where
something is wrong, and 0 where all that is there fits.

    python scripts/check_weights.py checkpoints --no_forward     headers alone: seconds
    python scripts/check_weights.py checkpoints --values         also look for NaN and infinities
    python scripts/check_weights.py checkpoints --clip assets/demo/static/diffusion_output
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments, print the findings, return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="CHECKPOINTS")
    parser.add_argument("--no_forward", action="store_true", help="leave the forwards out")
    parser.add_argument("--values", action="store_true", help="read all numbers: NaN, infinite")
    parser.add_argument("--clip", type=Path, help="folder of clips: both precisions of the rays")
    parser.add_argument("--tars", help="folder or pattern of tar parts to train on: their layout")
    parser.add_argument("--device", help="cpu or cuda (default: the GPU if there is one)")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder}: no such folder")

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import torch
    from weights.run import check

    from src.runtime import default_device

    device = torch.device(arguments.device) if arguments.device else default_device()
    wrong = 0
    for finding in check(
        arguments.folder,
        device,
        forward=not arguments.no_forward,
        values=arguments.values,
        clip=arguments.clip,
        tars=arguments.tars,
    ):
        print(finding, flush=True)
        wrong += finding.state == "wrong"
    print(f"{wrong} findings are wrong" if wrong else "all that is there fits")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
