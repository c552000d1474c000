"""A hub of model files on this machine, which `huggingface_hub`'s real client downloads from.

    with LocalHub({"nvidia/Lyra": folder}, datasets={...}, plain={"vgg.pth": file}) as hub:
        subprocess.run([...], env=hub.environment())

It serves repositories from folders as huggingface.co does: large files (`LFS_SUFFIXES`) come from
a second host by redirect and are named by their sha256, small ones by git's sha1 of a blob. Plain
files lie under `/plain/`. Faults are planted by the name of a file, `nvidia/Lyra/lyra_static.pt`,
of a repository or of a plain file; `requests` records what was asked and how much was sent.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from local_hub_answers import Answer, SeenRequest

if TYPE_CHECKING:
    import pytest

LFS_SUFFIXES = (".bin", ".jit", ".model", ".mp4", ".npz", ".pkl", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class Served:
    """A file of the hub with its digests: git's of a blob, and sha256."""

    path: Path
    size: int
    blob: str
    sha256: str

    @property
    def lfs(self) -> bool:
        """Whether it is stored apart from the repository, as large files are."""
        return self.path.suffix in LFS_SUFFIXES

    @property
    def etag(self) -> str:
        """What the hub calls its content."""
        return self.sha256 if self.lfs else self.blob

    @classmethod
    def read(cls, path: Path) -> "Served":
        """The file with its digests, read piece by piece."""
        size = path.stat().st_size
        blob, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(2**22):
                blob.update(piece)
                sha256.update(piece)
        return cls(path, size, blob.hexdigest(), sha256.hexdigest())


@dataclass
class Fault:
    """What goes wrong with a name, the next `times` times; a negative number is for ever."""

    value: Any
    times: int


@dataclass
class LocalHub:
    """The hub; see the module.

    Args:
        models: folders by the name of their repository.
        datasets: the same for data sets.
        plain: files by their name under `/plain/`.
    """

    models: Mapping[str, Path]
    datasets: Mapping[str, Path] = field(default_factory=dict)
    plain: Mapping[str, Path] = field(default_factory=dict)
    requests: list[SeenRequest] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._faults: dict[tuple[str, str], Fault] = {}
        self._lock = threading.Lock()
        self._home = tempfile.TemporaryDirectory()
        self.read_folders()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._home.cleanup()

    def _answer(self, *connection: Any) -> Answer:
        return Answer(self, *connection)

    def read_folders(self) -> None:
        """Look at the folders again: a test changed a file, so that the hub has a new version."""
        self.files: dict[str, dict[str, Served]] = {"plain": {}}
        for kind, folders in (("models", self.models), ("datasets", self.datasets)):
            for name, folder in folders.items():
                paths = sorted(path for path in folder.rglob("*") if path.is_file())
                self.files[f"{kind}/{name}"] = {
                    path.relative_to(folder).as_posix(): Served.read(path) for path in paths
                }
        self.files["plain"] = {name: Served.read(path) for name, path in self.plain.items()}

    @property
    def url(self) -> str:
        """The endpoint, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self) -> dict[str, str]:
        """The variables of a process that downloads from here and knows no account."""
        return {
            **os.environ,
            "HF_ENDPOINT": self.url,
            "HF_HOME": self._home.name,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "",
            "LPIPS_ENDPOINT": f"{self.url}/plain",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def serve_this_process(self, monkeypatch: "pytest.MonkeyPatch") -> None:
        """Make this process, too, download from here and know no account."""
        from huggingface_hub import constants

        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)
        # The client reads its own environment but once.
        template = f"{self.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", f"{self._home.name}/token")

    def cut(self, name: str, after: int, times: int = 1) -> None:
        """Close the connection of a file after so many bytes."""
        self._faults["cut", name] = Fault(after, times)

    def damage(self, name: str, times: int = 1) -> None:
        """Send zeros in the place of a file's content."""
        self._faults["damage", name] = Fault(None, times)

    def fail(self, name: str, status: int = 500, times: int = 1) -> None:
        """Answer with an error in the place of a file, or of a repository's list of files."""
        self._faults["fail", name] = Fault(status, times)

    def slow(self, name: str, pause: float, times: int = 1) -> None:
        """Wait before every piece of a file."""
        self._faults["slow", name] = Fault(pause, times)

    def gate(self, repository: str) -> None:
        """Let nobody read the files of a repository: its licence is not accepted."""
        self._faults["gate", repository] = Fault(None, -1)

    def restrict(self, repository: str) -> None:
        """Want a token for the files of a repository, whose licence that account accepted."""
        self._faults["restrict", repository] = Fault(None, -1)

    def lose(self, repository: str) -> None:
        """Know nothing of a repository."""
        self._faults["lose", repository] = Fault(None, -1)

    def heal(self) -> None:
        """Forget all faults and requests."""
        self._faults.clear()
        self.requests.clear()

    def sent(self, name: str) -> list[SeenRequest]:
        """The requests for the content of a file that sent some of it."""
        return [
            request for request in self.requests if request.sent and request.path.endswith(name)
        ]

    def strike(self, kind: str, *names: str) -> Fault | None:
        """The fault of one of the names, if there is one left."""
        with self._lock:
            for name in names:
                fault = self._faults.get((kind, name))
                if fault is not None and fault.times != 0:
                    fault.times -= 1
                    return fault
        return None
