"""What the local hub answers: one handler a request, in the words of huggingface.co."""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from local_hub import LocalHub, Served

PIECE_BYTES = 2**16
ROUTES = {
    "info": re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/[^/]+)?"),
    "tree": re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/[^/]+(?:/(.+))?"),
    "cdn": re.compile(r"/cdn/(models|datasets)/([^/]+/[^/]+)/(.+)"),
    "plain": re.compile(r"/(plain)/()(.+)"),
    "resolve": re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)"),
}


@dataclass
class SeenRequest:
    """What was asked, and the answer: its status and the bytes of a file that were sent."""

    method: str
    path: str
    range: str | None
    token: str | None
    status: int
    sent: int


class Answer(BaseHTTPRequestHandler):
    """The answer to one request."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: "LocalHub", *connection: Any) -> None:
        self.hub = hub
        super().__init__(*connection)

    def log_message(self, format: str, *arguments: object) -> None:
        """Be silent: the requests are recorded."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        try:
            self._route(unquote(urlsplit(self.path).path))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, path: str) -> None:
        if path == "/api/whoami-v2":
            return self._json({"type": "user", "name": "newcomer", "auth": {"type": "token"}})
        for route, pattern in ROUTES.items():
            found = pattern.fullmatch(path)
            if found is None:
                continue
            kind, repository, name = (*found.groups(), None)[:3]
            if route == "plain":
                return self._plain(name)
            kind = (kind or "models").rstrip("/")
            if f"{kind}/{repository}" not in self.hub.files or self.hub.strike("lose", repository):
                return self._no_repository()
            if fault := self.hub.strike("fail", f"{repository}/{name}" if name else repository):
                return self._error(fault.value, "Internal Error - planted")
            return getattr(self, f"_{route}")(kind, repository, name)
        return self._error(404, "no such address")

    def _no_repository(self) -> None:
        if self.headers.get("Authorization"):
            self._error(404, "Repository not found", "RepoNotFound")
        else:
            self._error(401, "Invalid username or password.")

    def _info(self, kind: str, repository: str, _: str | None) -> None:
        files = self.hub.files[f"{kind}/{repository}"]
        siblings = [_sibling(name, file) for name, file in files.items()]
        facts = {"id": repository, "sha": _commit(files), "siblings": siblings, "private": False}
        self._json({**facts, "gated": False, "disabled": False, "tags": [], "downloads": 0})

    def _tree(self, kind: str, repository: str, below: str | None) -> None:
        files = self.hub.files[f"{kind}/{repository}"]
        folders = {str(parent) for name in files for parent in Path(name).parents}
        entries = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            for folder in sorted(folders - {"."})
        ]
        entries += [_entry(name, file) for name, file in files.items()]
        prefix = f"{below}/" if below else ""
        chosen = [entry for entry in entries if entry["path"].startswith(prefix)]
        if "recursive=true" not in self.path.lower():
            chosen = [entry for entry in chosen if "/" not in entry["path"][len(prefix) :]]
        self._json(chosen)

    def _resolve(self, kind: str, repository: str, name: str) -> None:
        files = self.hub.files[f"{kind}/{repository}"]
        restricted = self.hub.strike("restrict", repository)
        known = self.headers.get("Authorization")
        if self.hub.strike("gate", repository) or (restricted and not known):
            status = 403 if known else 401
            text = f"Access to {repository} is restricted. You must be authenticated."
            return self._error(status, text, "GatedRepo")
        if name not in files:
            return self._error(404, "Entry not found", "EntryNotFound")
        file, commit = files[name], {"X-Repo-Commit": _commit(files)}
        if not file.lfs:
            return self._file(file, f"{repository}/{name}", commit)
        # Another name of this machine, so that clients take it for another host, as it is there.
        host = self.hub.url.replace("127.0.0.1", "localhost")
        return self._head(
            302,
            {
                **commit,
                "Location": f"{host}/cdn/{kind}/{repository}/{quote(name)}",
                "X-Linked-Size": str(file.size),
                "X-Linked-Etag": f'"{file.etag}"',
                "Content-Length": "0",
            },
        )

    def _cdn(self, kind: str, repository: str, name: str) -> None:
        self._file(self.hub.files[f"{kind}/{repository}"][name], f"{repository}/{name}", {})

    def _plain(self, name: str) -> None:
        if fault := self.hub.strike("fail", name):
            return self._error(fault.value, "planted")
        if name not in self.hub.files["plain"]:
            return self._error(404, "no such file")
        return self._file(self.hub.files["plain"][name], name, {})

    def _file(self, file: "Served", name: str, headers: dict[str, str]) -> None:
        start, stop = _span(self.headers.get("Range"), file.size)
        whole = (start, stop) == (0, file.size)
        headers = {
            **headers,
            "ETag": f'"{file.etag}"',
            "Accept-Ranges": "bytes",
            "Content-Length": str(stop - start),
        }
        if not whole:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        self._head(200 if whole else 206, headers)
        if self.command == "HEAD":
            return
        slow, cut = self.hub.strike("slow", name), self.hub.strike("cut", name)
        damage = self.hub.strike("damage", name)
        left = stop - start if cut is None else min(cut.value, stop - start)
        for piece in _pieces(file.path, start, left):
            if slow is not None:
                time.sleep(slow.value)
            # Counted first: whoever has a whole file may look at the requests at once.
            self.request_record.sent += len(piece)
            self.wfile.write(bytes(len(piece)) if damage else piece)
        self.close_connection = self.close_connection or cut is not None

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _error(self, status: int, message: str, code: str | None = None) -> None:
        codes = {} if code is None else {"X-Error-Code": code}
        self._head(status, {**codes, "X-Error-Message": message, "Content-Length": "0"})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        asked, token = self.headers.get("Range"), self.headers.get("Authorization")
        self.request_record = SeenRequest(self.command, self.path, asked, token, status, 0)
        self.hub.requests.append(self.request_record)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _entry(name: str, file: "Served") -> dict[str, Any]:
    """A file in a list of files."""
    entry = {"type": "file", "oid": file.blob, "size": file.size, "path": name}
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return entry


def _sibling(name: str, file: "Served") -> dict[str, Any]:
    """A file among the facts of a repository, where the same things have other names."""
    entry = {"rfilename": name, "blobId": file.blob, "size": file.size}
    if file.lfs:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": 134}
    return entry


def _commit(files: Mapping[str, "Served"]) -> str:
    """The name of a repository's version, which changes with its files."""
    facts = "".join(f"{name} {file.etag}\n" for name, file in files.items())
    return hashlib.sha1(facts.encode()).hexdigest()


def _span(asked: str | None, size: int) -> tuple[int, int]:
    """First byte, and the one behind the last, of what a Range header asks for."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
    if found is None or int(found[1]) >= size:
        return 0, size
    return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size


def _pieces(path: Path, start: int, left: int) -> Iterator[bytes]:
    """`left` bytes of a file from `start` on."""
    with path.open("rb") as file:
        file.seek(start)
        while left > 0 and (piece := file.read(min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
