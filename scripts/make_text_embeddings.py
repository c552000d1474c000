"""Make the two text embeddings of runs without a prompt: those of the empty and the negative one.

They are constants. `checkpoints/text_embeddings` keeps them, the first run of the generator makes
them as well, and after that only a prompt of your own needs T5: without such prompts
`checkpoints/google-t5` may be deleted. Copied to another machine's checkpoint folder, the two files
save its download of 45 GB. T5 takes about 45 GB of memory while it is loaded.
"""

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Parse the arguments, make the embeddings, return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint_dir",
        type=Path,
        default=Path("checkpoints"),
        help="T5 lies below it, and the embeddings will (%(default)s)",
    )
    parser.add_argument("--device", help="where T5 works (default: the GPU if there is one)")
    arguments = parser.parse_args()

    sys.path.insert(0, str(REPOSITORY))
    from cosmos_predict1.diffusion.model.text import make_constants
    from src.runtime import InputError, default_device, setup_logging

    setup_logging()
    try:
        made = make_constants(arguments.checkpoint_dir, arguments.device or default_device())
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"made {path}" for path in made) or "both embeddings are there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
