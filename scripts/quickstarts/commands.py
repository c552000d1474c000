"""The two commands that make a scene; runs them, ends with them, keeps their last lines."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from src.checkpoints import find_checkpoint

from .request import REPOSITORY, Request

Kind = Literal["static", "dynamic"]
GENERATORS: Mapping[Kind, str] = {
    "static": "gen3c_single_image_sdg.py",
    "dynamic": "gen3c_dynamic_sdg.py",
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Bytes of standard error that are read at once, and that are kept.
PIECE_BYTES, KEPT_BYTES = 2**16, 2**20
# A child of a process that has ended may hold its pipe open.
DRAIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class QuickstartRecipe:
    """The options of the two commands beside the input and the folder of the results.

    Attributes:
        request: the arguments of the user; a KEY=VALUE of theirs wins over `rasterizer`.
        name: the size, as in `configs/demo/<name>_static.yaml`.
        flags: more flags of the first command.
    """

    request: Request
    name: Literal["nano", "lyra"]
    rasterizer: str
    flags: tuple[str, ...] = ()

    def weights(self, part: str) -> Path:
        """The path of the weights of a part."""
        return find_checkpoint(part, self.request.checkpoint_dir)

    def generate(self, kind: Kind, source: Path, folder: Path) -> list[str]:
        """The command that makes the clips of an input in `folder`."""
        asked = self.request
        return [
            *(sys.executable, _script(f"cosmos_predict1/diffusion/inference/{GENERATORS[kind]}")),
            *("--checkpoint_dir", str(asked.checkpoint_dir)),
            *("--input_image_path", str(source), "--video_save_folder", str(folder)),
            # Clips that an earlier call made from something else are replaced.
            *("--multi_trajectory", "--foreground_masking", "--overwrite"),
            *("--depth", asked.depth, "--seed", str(asked.seed)),
            *([] if asked.device == "auto" else ["--device", asked.device]),
            *self.flags,
        ]

    def decode(self, kind: Kind, clips: Path, folder: Path, partly: bool = False) -> list[str]:
        """The command that makes scenes of clips in `folder`, of whole clips alone if `partly`."""
        device = self.request.device
        return [
            *(sys.executable, _script("sample.py")),
            *("--config", str(REPOSITORY / f"configs/demo/{self.name}_{kind}.yaml")),
            f"dataset_root={clips}",
            f"ckpt_path={self.weights(f'decoder_{kind}')}",
            f"vae_path={self.weights('tokenizer')}",
            f"out_dir_inference={folder}",
            f"rasterizer={self.rasterizer}",
            "overwrite=true",
            *(["skip_unreadable=true"] if partly else []),
            *([] if device == "auto" else [f"device={device}"]),
            *self.request.settings,
        ]


def _script(name: str) -> str:
    return str(REPOSITORY / name)


class Terminated(Exception):
    """A signal stopped the quickstart; none of its commands runs any more."""

    def __init__(self, number: int) -> None:
        self.number = number
        name = signal.Signals(number).name
        super().__init__(f"stopped ({name}); the same command goes on where it stopped")


@dataclass(frozen=True)
class Ended:
    """The exit code of a command, and the last lines of its standard error."""

    code: int
    lines: tuple[str, ...]

    @property
    def last_line(self) -> str:
        """The last line, or the exit code if there is none."""
        return self.lines[-1] if self.lines else f"exit code {self.code}"


class Children:
    """Runs commands one after another; SIGTERM, SIGHUP and Ctrl-C end the one that runs.

    Each has a process group of its own. Ctrl-C reaches it through this program alone and ends the
    whole group, without a traceback for each process.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._starting = False
        self._stop: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Children":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ended:
        """Shows and runs a command; raises `Terminated` once it has ended after a signal."""
        print("+", shlex.join(command), flush=True)
        self._starting = True
        child = subprocess.Popen(
            command,
            env={**os.environ, **_width(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self._child, self._starting = child, False
        if self._stop is not None:
            self._end(signal.SIGTERM)
        kept = bytearray()
        reader = threading.Thread(target=_pass_on, args=(child, kept), daemon=True)
        reader.start()
        code = child.wait()
        reader.join(DRAIN_SECONDS)
        self._child = None
        if self._stop is not None:
            raise Terminated(self._stop)
        lines = kept.decode(errors="replace").replace("\r", "\n").splitlines()
        return Ended(code, tuple(line for line in lines if line.strip()))

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Passes a signal on to the command; a second signal kills it."""
        again, self._stop = self._stop is not None, self._stop or number
        if self._child is not None:
            self._end(signal.SIGKILL if again else signal.SIGTERM)
        elif not self._starting:
            raise Terminated(number)

    def _end(self, number: int) -> None:
        assert self._child is not None, "no command runs"
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return


def _pass_on(child: "subprocess.Popen[bytes]", kept: bytearray) -> None:
    """Copies the standard error of a command as it comes, and keeps its end."""
    assert child.stderr is not None
    while piece := os.read(child.stderr.fileno(), PIECE_BYTES):
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()
        kept += piece
        del kept[:-KEPT_BYTES]


def _width() -> dict[str, str]:
    """The size of the terminal for progress bars, which cannot get it from a pipe."""
    if not sys.stderr.isatty():
        return {}
    size = shutil.get_terminal_size()
    return {"COLUMNS": str(size.columns), "LINES": str(size.lines)}
