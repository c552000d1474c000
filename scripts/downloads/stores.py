"""The servers of the files: the Hugging Face hub and plain URLs, with errors in plain words."""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from src.io.json_object import read_json_object, write_json
from src.runtime import InputError

from .catalogue import Source

# Git's digest of a file: the sha1 of its size and content.
GIT_BLOB = "git-sha1"
ACCEPTED = "accepted_checksums.json"
PIECE_BYTES = 2**22


def checksum(path: Path, algorithm: str) -> str:
    """Returns the hexadecimal digest of a file, read piece by piece."""
    if algorithm == GIT_BLOB:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    else:
        digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


class Digests:
    """The digests of one file, each computed once, on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = {}

    def find(self, algorithm: str) -> str:
        """Returns `algorithm:hexadecimal digest`."""
        if algorithm not in self._known:
            self._known[algorithm] = checksum(self._path, algorithm)
        return f"{algorithm}:{self._known[algorithm]}"

    def fit(self, expected: str | None) -> bool:
        """Whether the file has a checksum, of which the beginning suffices."""
        return expected is not None and self.find(expected.partition(":")[0]).startswith(expected)


def read_accepted(folder: Path) -> dict[str, str]:
    """Reads the checksums that a user accepted earlier, by file name."""
    path = folder / ACCEPTED
    if not path.exists():
        return {}
    accepted = read_json_object(path)
    for name, text in accepted.items():
        algorithm = text.partition(":")[0] if isinstance(text, str) else ""
        if algorithm not in hashlib.algorithms_guaranteed:
            raise InputError(path, f"{name}: {text!r}", "algorithm:hexadecimal digest")
    return accepted


def write_accepted(folder: Path, accepted: dict[str, str]) -> None:
    """Writes the accepted checksums for later runs."""
    write_json(folder / ACCEPTED, dict(sorted(accepted.items())), indent=2)


LOG = logging.getLogger("download_checkpoints")
# Seconds to wait after an error of the server before each further attempt.
PAUSES = (1, 4, 16)
SIGN_IN = "then `hf auth login`, or a token in HF_TOKEN"


def part_path(path: Path, version: str) -> Path:
    """Returns the path of an unfinished file, another for each version."""
    return path.with_name(f".{path.name}.{version[:16]}.part")


class NoConnection(InputError):
    """The server of a source is out of reach."""


@dataclass(frozen=True)
class Offer:
    """A file on a server: its bytes, the server's digest if it has one, a name of the version."""

    size: int
    digest: str | None
    version: str


def offers(source: Source) -> Mapping[str, Offer]:
    """Returns the files of a repository by name; the listed ones for plain URLs."""
    with plain_words(source):
        if source.kind == "url":
            return {name: _url_offer(_url(source, name)) for name in source.files}
        from huggingface_hub import HfApi

        tree = HfApi().list_repo_tree(source.repository, recursive=True, repo_type=source.kind)
        entries: list[Any] = list(tree)
        # Folders have no digest of a blob.
        return {entry.path: _hub_offer(entry) for entry in entries if hasattr(entry, "blob_id")}


def check_access(source: Source, name: str) -> None:
    """Raises unless this user may read a file; a list of files does not tell it."""
    from huggingface_hub.utils import hf_raise_for_status, http_backoff

    url = _url(source, name)
    with plain_words(source):
        # For a file on another server the answer is the redirect to it.
        answer = http_backoff("HEAD", url, headers=_headers(source), follow_redirects=False)
        hf_raise_for_status(answer)


def fetch(source: Source, name: str, path: Path, offer: Offer) -> Path:
    """Downloads one file, resumes an earlier attempt; returns the part that becomes `path`.

    The hub's client removes its part when it stops, so that 45 GB would start anew. Here the part
    lies beside the file, even of a killed process, and the client's transfer continues it.

    Raises:
        InputError: an error of the server, or another process downloads the same file.
        OSError: an error of the disk; the part stays.
    """
    part = part_path(path, offer.version)
    part.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f".{path.name}.*.part"):
        if other != part:
            other.unlink()
    with part.open("ab") as file, plain_words(source):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(path, "another download of it that runs", "one at a time") from error
        if file.tell() > offer.size:
            file.truncate(0)
        _append(_url(source, name), file, offer.size, headers=_headers(source), name=path.name)
    return part


def _append(url: str, file: BinaryIO, size: int, *, headers: dict[str, str], name: str) -> None:
    """Appends the missing bytes of a file; tries again after errors of the server."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    for pause in (*PAUSES, None):
        file.flush()
        try:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=headers,
                expected_size=size,
                displayed_filename=name,
            )
            return
        except HfHubHTTPError as error:
            status = error.response.status_code
            if pause is None or status < 500:
                raise
            LOG.warning("%s: the server answers %d; trying again", name, status)
            time.sleep(pause)


@contextmanager
def plain_words(source: Source) -> Iterator[None]:
    """Turns errors of the hub's client into input errors that say what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    repository = source.repository
    prefix = "datasets/" if source.kind == "dataset" else ""
    page = repository if source.kind == "url" else f"https://huggingface.co/{prefix}{repository}"
    try:
        yield
    except GatedRepoError as error:
        expected = f"the licence accepted at {page} by your account, {SIGN_IN}"
        raise InputError(repository, "no access", expected) from error
    except HfHubHTTPError as error:
        value, expected = f"an error ({_one_line(error)})", "the file; try again later"
        # Without a valid token the answer is 401 for a missing repository too.
        if isinstance(error, RepositoryNotFoundError) or error.response.status_code == 401:
            value = f"not found, or not for this account ({_one_line(error)})"
            expected = f"a repository that you may read; if {page} exists, {SIGN_IN}"
        raise InputError(repository, value, expected) from error
    # Connection errors are those of the client's own library.
    except (HTTPError, OfflineModeIsEnabled) as error:
        value = f"no connection ({_one_line(error)})"
        raise NoConnection(repository, value, "the server within reach; run it again") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _headers(source: Source) -> dict[str, str]:
    """The headers of a request for a file: the user's token, and no compression."""
    identity = {"Accept-Encoding": "identity"}
    if source.kind == "url":
        return identity
    from huggingface_hub.utils import build_hf_headers

    return {**build_hf_headers(), **identity}


def _url(source: Source, name: str) -> str:
    if source.kind == "url":
        base = os.environ.get(source.endpoint) or source.repository
        return f"{base.rstrip('/')}/{name}"
    from huggingface_hub import hf_hub_url

    return hf_hub_url(source.repository, name, repo_type=source.kind)


def _hub_offer(entry: Any) -> Offer:
    """Reads an entry of the hub: it has the sha256 of large files, git's sha1 of the others."""
    if entry.lfs is None:
        return Offer(entry.size, f"{GIT_BLOB}:{entry.blob_id}", entry.blob_id)
    return Offer(entry.size, f"sha256:{entry.lfs.sha256}", entry.lfs.sha256)


def _url_offer(url: str) -> Offer:
    """Asks a plain server for a file's size; its ETag can be anything, so it is no digest."""
    from huggingface_hub.utils import hf_raise_for_status, http_backoff

    headers = {"Accept-Encoding": "identity"}
    answer = http_backoff("HEAD", url, headers=headers, follow_redirects=True)
    hf_raise_for_status(answer)
    size = answer.headers.get("Content-Length")
    if size is None:
        raise InputError(url, "no Content-Length", "a server that tells the size of its files")
    version = "".join(filter(str.isalnum, answer.headers.get("ETag", ""))) or size
    return Offer(int(size), None, version)
