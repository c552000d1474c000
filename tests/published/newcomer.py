"""README's ten lines to the first scene of full size, typed by a newcomer at a terminal.

    python tests/published/newcomer.py --folder DIR [--python PROGRAM]

DIR becomes the home of a stranger: the lines under "The full size" are run there one after the
other, in a terminal, on the last commit of this repository. Questions are answered as a newcomer
would: the token is pasted, the download is wanted. The hub is on this machine, wants that token
for NVIDIA's repositories, and has tiny stand-ins of all files; see `Rehearsal` for what differs.

- On a machine without a GPU the quickstart gets `--device cpu`, and with less memory than T5
  takes `--disable_prompt_encoder`, as README says.
- `--python PROGRAM` is for a machine without a package index: the line of setup.sh is left out,
  and the quickstart runs with this interpreter.

Prints seconds and status of every line and what the scene consists of; ends with 1 where a line
fails or no Gaussians are there.
"""

import os
import pty
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "scripts")]

# What a newcomer types when a program asks; the menu's second entry is the token.
ANSWERS = (
    (re.compile(rb"How would you like to log in\?(?s:.)*token"), b"\x1b[B\r"),
    (re.compile(rb"Enter your token"), b"hf_newcomer\n"),
    (re.compile(rb"git credential\? \(Y/n\)"), b"n\n"),
    (re.compile(rb"Download it now\? \[y/N\]"), b"y\n"),
)


def main() -> int:
    """Parse the arguments, type the lines, look for the scene."""
    from src.entry import manual_parser

    parser = manual_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the clone goes")
    parser.add_argument("--python", help="instead of setup.sh's environment")
    given = parser.parse_args()
    from local_hub import LocalHub
    from published.layout import FOLDERS, TINY, write_standins
    from published.rehearsal import accept_checksums, shrink_settings, user_environment

    home = given.folder.resolve()
    shutil.rmtree(home / "open-lyra", ignore_errors=True)
    made = write_standins(home / "stand-ins", TINY)
    clone = home / "open-lyra"
    with LocalHub(made.models, made.datasets, made.plain) as hub:
        for repository in FOLDERS.values():
            if repository.startswith("nvidia/"):
                hub.restrict(repository)
        environment = user_environment(hub.environment(), home / "packages")
        # The newcomer has programs of the system alone, and a GPU if there is one.
        path = os.environ["PATH"].replace(f"{REPOSITORY}/.venv/bin{os.pathsep}", "")
        environment["PATH"] = path
        del environment["CUDA_VISIBLE_DEVICES"]
        if given.python is not None:
            # Its packages may lie in a folder of their own.
            environment |= {k: v for k, v in os.environ.items() if k == "PYTHONPATH"}
        first, *others = readme_lines((REPOSITORY / "README.md").read_text())
        if type_line(first.replace("REPOSITORY", str(REPOSITORY)), home, environment):
            return 1
        shrink_settings(clone, TINY.scene)
        accept_checksums(clone / "checkpoints", made)
        if given.python is None:
            environment["PATH"] = f"{clone}/.venv/bin{os.pathsep}{path}"
        for line in others:
            typed = adapted(line, given.python)
            if typed and type_line(typed, clone, environment):
                return 1
    found = sorted((clone / "outputs").rglob("*.ply"))
    for ply in found:
        sys.stdout.write(f"{ply.relative_to(clone)}: {ply.stat().st_size:,} bytes\n")
    return 0 if found else 1


def readme_lines(readme: str) -> list[str]:
    """The lines of the first block under "The full size", comments left out."""
    block = readme.partition("## The full size")[2].split("```")[1]
    lines = [line.partition("#")[0].strip() for line in block.splitlines()[1:]]
    return [line for line in lines if line]


def adapted(line: str, python: str | None) -> str:
    """The line as this machine can run it; empty where it has no use here.

    The environment is active through the path, since each line has a shell of its own.
    """
    from quickstarts.full import T5_GIB
    from quickstarts.machine import available_memory, query_gpus

    if line.startswith("source ") or (python is not None and "setup.sh" in line):
        return ""
    if "quickstart.sh" not in line:
        return line
    line += f" --python {python}" if python is not None else ""
    line += "" if query_gpus("name") else " --device cpu"
    return line + (" --disable_prompt_encoder" if available_memory() < T5_GIB else "")


def type_line(line: str, folder: Path, environment: Mapping[str, str]) -> int:
    """Run a line at a terminal of its own, answer its questions, return its status."""
    begun = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "-c", line], dict(environment))
    said, answered = b"", 0
    while True:
        try:
            piece = os.read(terminal, 2**16)
        except OSError:
            # Linux tells the end of a terminal so.
            break
        if not piece:
            break
        said += piece
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        for question, answer in ANSWERS:
            if found := question.search(said, answered):
                answered = found.end()
                time.sleep(0.5)
                os.write(terminal, answer)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    sys.stdout.write(f"==== {time.monotonic() - begun:.0f} s, status {status}: {line}\n")
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
