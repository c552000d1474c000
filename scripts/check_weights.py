"""Say what lies in a checkpoint folder: `python scripts/check_weights.py CHECKPOINTS [options]`.

One line for each finding, beginning with `ok`, `note`, `missing` or `wrong`: the file of a part,
its format, its tensors and their types; names and shapes that do not fit; the parts that a command
lacks; the result of a tiny forward pass of each part that fits. Names and shapes come from the
headers, nothing in a file is executed, and no large file is read whole. The exit code is 1 if
something is wrong, and 0 if all parts that are there fit.

    python scripts/check_weights.py checkpoints --no_forward     headers alone: seconds
    python scripts/check_weights.py checkpoints --values         also look for NaN and infinities
    python scripts/check_weights.py checkpoints --clip assets/demo/static/diffusion_output
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry


def main() -> int:
    """Print the findings; returns 1 if any is wrong."""
    parser = manual_parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="CHECKPOINTS")
    parser.add_argument("--no_forward", action="store_true", help="leave the forwards out")
    parser.add_argument("--values", action="store_true", help="read all numbers: NaN, infinite")
    parser.add_argument("--clip", type=Path, help="folder of clips: both precisions of the rays")
    parser.add_argument("--tars", help="folder or pattern of tar parts to train on: their layout")
    parser.add_argument("--device", help="cpu or cuda (default: the GPU if there is one)")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder}: no such folder")

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
    run_entry(main, "check_weights.py")
