"""A server of the page on this machine: read only, a fixed list of files."""

import errno
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath

from ..runtime import InputError

TYPES = {"": "text/html; charset=utf-8", ".jpg": "image/jpeg"}
# Ports that are tried after the first one.
TRIES = 20


def make_server(files: Mapping[str, bytes], host: str, port: int) -> ThreadingHTTPServer:
    """Returns a server of `files` on the next free port from `port` on.

    Raises `InputError` if there is no such host, or no free port among the next 20.
    """

    class Handler(BaseHTTPRequestHandler):
        """Answers with the files of the list."""

        def do_GET(self) -> None:
            """Sends a file of the list."""
            path = self.path.split("?")[0]
            content = files.get(path)
            if content is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            kind = TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *_: object) -> None:
            """Requests are not logged."""

    for number in range(max(port, 0), min(port + TRIES, 65536)):
        try:
            return ThreadingHTTPServer((host, number), Handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                found = error.strerror or str(error)
                raise InputError(f"--host {host}", found, "an address of this machine") from error
    raise InputError("--port", f"{port}, and no free port in the {TRIES} from it", "0 to 65535")
