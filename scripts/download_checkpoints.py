"""Download weights and demo inputs: `python scripts/download_checkpoints.py --what NAME ...`.

The files that the project needs go into the published tree under `--checkpoint_dir`, `demo` into
assets/demo/static and assets/demo/dynamic. Access and room on the disk are checked first. A second
run resumes an interrupted download and checks the files that are there. A file gets its name once
its checksum fits; a damaged one is fetched again, once. If the hub has another version than the one
that this program was checked with, the file is kept and named, and `--accept` takes it.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from downloads.catalogue import DEFAULT, GROUPS, SOURCES, expand, gigabytes

from src.entry import manual_parser, run_entry

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = """
HF_TOKEN or `hf auth login` shows who you are where a licence must be accepted; HF_ENDPOINT names
another hub, LPIPS_ENDPOINT another address that has the two files of lpips."""


def main() -> int:
    """Fetch the files; returns 1 if some are of another version than the checked one."""
    arguments = _parser().parse_args()
    return _download(arguments.what, arguments.checkpoint_dir, arguments.accept)


def _parser() -> argparse.ArgumentParser:
    names = [f"  {name:21} {_about(name)}" for name in SOURCES]
    groups = [
        f"  {name:21} {' '.join(keys)}, {gigabytes(keys):.1f} GB" for name, keys in GROUPS.items()
    ]
    parser = manual_parser(__doc__)
    parser.epilog = "\n".join(["what there is:", *names, "groups:", *groups, ENVIRONMENT])
    parser.add_argument(
        "--what",
        nargs="+",
        choices=[*SOURCES, *GROUPS],
        metavar="NAME",
        help=f"of the lists below; default: {' '.join(DEFAULT)} ({gigabytes(DEFAULT):.0f} GB), "
        "without t5 where its two constant embeddings are kept already",
    )
    parser.add_argument(
        "--checkpoint_dir",
        type=Path,
        default=Path("checkpoints"),
        help="where the published tree of weights lies (%(default)s)",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="take files of another version than the checked one, and remember their checksums",
    )
    return parser


def _about(name: str) -> str:
    """The purpose of a part, and its size if that is known."""
    about, size = SOURCES[name][0].about, gigabytes([name])
    return f"{size:.1f} GB: {about}" if size else about


def _download(names: list[str] | None, checkpoint_dir: Path, accept: bool) -> int:
    from downloads.fetch import Download
    from downloads.stores import ACCEPTED, read_accepted, write_accepted

    from src.runtime import setup_logging

    setup_logging()
    for client in ("httpx", "httpx2"):
        # It logs every request, with signed addresses that are a page long.
        logging.getLogger(client).setLevel(logging.WARNING)
    if names is None:
        from cosmos_predict1.diffusion.model.text import missing_constants

        names = [name for name in DEFAULT if name != "t5" or missing_constants(checkpoint_dir)]
    sources = [source for name in expand(names) for source in SOURCES[name]]
    folders = [
        (source, (REPOSITORY if source.kind == "dataset" else checkpoint_dir) / source.folder)
        for source in sources
    ]
    accepted = read_accepted(checkpoint_dir)
    download = Download(accepted, accept)
    try:
        files = download(folders)
    finally:
        # Kept even if a later file fails: the user need not accept the same files again.
        if accept and accepted:
            write_accepted(checkpoint_dir, accepted)
    print(f"{len(files)} files are complete")
    if download.others:
        others = ", ".join(map(str, download.others))
        print(
            f"of another version than the checked one: {others}; they are kept, and the same "
            f"command with --accept takes them (noted in {checkpoint_dir / ACCEPTED})",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    run_entry(main, "download_checkpoints.py", "stopped; the same command goes on")
