"""Download weights and demo inputs: `python scripts/download_checkpoints.py --what NAME ...`.

Only the files that are needed are fetched, into the published tree under `--checkpoint_dir`; `demo`
goes into assets/demo. A download that was interrupted goes on where it stopped, and files that are
there are checked and left alone, so the command can be run again at any time. Room on the disk is
checked first, checksums afterwards. Where a licence must be accepted, the command says where.
"""

import argparse
import sys
from pathlib import Path

from downloads.catalogue import SOURCES

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT = ("gen3c", "tokenizer", "lyra")


def main() -> int:
    """Parse the arguments, fetch the files, return the exit code."""
    names = [f"  {name:21} {sources[0].about}" for name, sources in SOURCES.items()]
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(["what there is:", *names]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--what",
        nargs="+",
        choices=[*SOURCES, "all"],
        default=DEFAULT,
        metavar="NAME",
        help=f"of the list below, or all; default: {' '.join(DEFAULT)}",
    )
    parser.add_argument("--checkpoint_dir", type=Path, default=Path("checkpoints"))
    arguments = parser.parse_args()

    sys.path.insert(0, str(REPOSITORY))
    from downloads.fetch import download
    from downloads.stores import Stores

    from src.runtime import InputError, setup_logging

    setup_logging()
    chosen = list(SOURCES) if "all" in arguments.what else list(dict.fromkeys(arguments.what))
    sources = [source for name in chosen for source in SOURCES[name]]
    weights: Path = arguments.checkpoint_dir
    folders = [
        (source, (REPOSITORY if source.kind == "dataset" else weights) / source.folder)
        for source in sources
    ]
    try:
        files = download(folders, Stores())
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(files)} files are complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
