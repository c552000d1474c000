"""Make the embeddings of the empty prompt and of the negative one, for runs without a prompt.

They are constants, kept in `checkpoints/text_embeddings`; the first run of the generator makes them
as well. After that only a prompt of your own needs T5: without one, `checkpoints/google-t5` may be
deleted. Copied to another machine's checkpoint folder, the two files save its download of 45 GB.
T5 passes layer by layer, and takes 3 GB of memory.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry


def main() -> None:
    """Make the missing embeddings and print their paths."""
    parser = manual_parser(__doc__)
    parser.add_argument(
        "--checkpoint_dir",
        type=Path,
        default=Path("checkpoints"),
        help="folder of T5 and of the embeddings (%(default)s)",
    )
    parser.add_argument("--device", help="where T5 works (default: the GPU if there is one)")
    arguments = parser.parse_args()

    from cosmos_predict1.diffusion.model.text import make_constants
    from src.runtime import default_device, setup_logging

    setup_logging()
    made = make_constants(arguments.checkpoint_dir, arguments.device or default_device())
    print("\n".join(f"made {path}" for path in made) or "both embeddings are there")


if __name__ == "__main__":
    run_entry(main, "make_text_embeddings.py")
