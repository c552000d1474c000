"""Write a decoder's checkpoint in the published layout: `export_decoder.py CHECKPOINT TARGET`.

CHECKPOINT is a folder `checkpoint-<step>` of a training. TARGET receives a folder of the same name
with `pytorch_model/mp_rank_00_model_states.pt`: bfloat16 weights under `module`, which are the
moving average where the training kept one.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments, write, say where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("target", type=Path, metavar="TARGET")
    parser.add_argument(
        "--average",
        action=argparse.BooleanOptionalAction,
        help="the moving average of the weights, or not; by default where there is one",
    )
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from src.models.recon.weights import load_decoder
    from src.runtime import InputError, setup_logging
    from src.training.checkpoints.files import export_checkpoint

    setup_logging()

    def read(path: Path) -> dict:
        return dict(load_decoder(path).state_dict())

    try:
        print(export_checkpoint(arguments.checkpoint, arguments.target, read, arguments.average))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
