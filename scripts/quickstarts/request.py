"""The arguments of the quickstart, read with the standard library alone.

Run as a script it only checks them, before there is an environment.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "assets/demo/garden.jpg"
SETTING = re.compile(r"[a-z][^=]*=")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments with absolute paths and defaults."""

    input: Path
    output: Path
    seed: int
    checkpoint_dir: Path
    depth: str
    device: str
    full: bool
    yes: bool
    disable_prompt_encoder: bool
    settings: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"quickstart: {message.removeprefix('argument ')} (see --help)", file=sys.stderr)
        sys.exit(2)


def parse_request(arguments: Sequence[str], manual: str) -> Request:
    """Reads a command line; ends the program if it is wrong."""
    parser = _Parser(
        usage="quickstart.py [PICTURE | VIDEO | FOLDER] [OPTION ...] [KEY=VALUE ...]",
        description=manual,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in ("--output", "--checkpoint_dir", "--depth"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    parser.add_argument("--seed", default="1", help=argparse.SUPPRESS)
    devices = ("auto", "cpu", "cuda")
    parser.add_argument("--device", choices=devices, default="auto", help=argparse.SUPPRESS)
    for switch in ("--full", "--yes", "--disable_prompt_encoder"):
        parser.add_argument(switch, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_intermixed_args(arguments)
    if re.fullmatch("[0-9]+", given.seed) is None or int(given.seed) >= 2**32:
        parser.error(f"--seed: got {given.seed}, expected a whole number below 2**32")
    # An existing path is no setting, whatever its name.
    inputs = [word for word in given.words if Path(word).exists() or not SETTING.match(word)]
    if len(inputs) > 1:
        parser.error(f"{inputs[1]}: a second input, expected one; put them into a folder")
    source = Path(inputs[0]) if inputs else DEMO
    if not source.exists():
        expected = "expected a picture, a video, or a folder of them"
        parser.error(f"{source}: no such file or folder, {expected}")
    weights = REPOSITORY / ("checkpoints" if given.full else "assets/nano")
    return Request(
        input=_absolute(source),
        output=_absolute(given.output or f"outputs/{'full' if given.full else 'quickstart'}"),
        seed=int(given.seed),
        checkpoint_dir=_absolute(given.checkpoint_dir or weights),
        depth=given.depth or ("auto" if given.full else "nano"),
        device=given.device,
        full=given.full,
        yes=given.yes,
        disable_prompt_encoder=given.disable_prompt_encoder,
        settings=tuple(word for word in given.words if word not in inputs),
    )


def _absolute(path: Path | str) -> Path:
    """Returns the absolute path without following links, whose names the clips get."""
    return Path(os.path.normpath(Path.cwd() / path))


if __name__ == "__main__":
    parse_request(sys.argv[1:], "")
