"""Where files come from: the Hugging Face hub, or plain URLs; their refusals in plain words."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.io.atomic import atomic_path
from src.runtime import InputError

from .catalogue import Source

REACHABLE = "the hub within reach"
SIGN_IN = "then `hf auth login`, or a token in HF_TOKEN"
PIECE_BYTES = 2**20


class Stores:
    """The hub for models and data sets, plain URLs for the rest."""

    def sizes(self, source: Source) -> Mapping[str, int]:
        """Files and their bytes; of a URL source those that it names."""
        if source.kind == "url":
            return {name: _url_size(f"{source.repository}/{name}") for name in source.files}
        from huggingface_hub import HfApi

        with hub_words(source):
            entries: Any = HfApi().list_repo_tree(
                source.repository, recursive=True, repo_type=source.kind
            )
            # Folders have no size.
            return {entry.path: entry.size for entry in entries if hasattr(entry, "size")}

    def fetch(self, source: Source, name: str, folder: Path, force: bool) -> None:
        """Download one file; the hub's client resumes by itself."""
        if source.kind == "url":
            _fetch_url(f"{source.repository}/{name}", folder / name)
            return
        from huggingface_hub import hf_hub_download

        with hub_words(source):
            hf_hub_download(
                source.repository,
                name,
                repo_type=source.kind,
                local_dir=folder,
                force_download=force,
            )


@contextmanager
def hub_words(source: Source) -> Iterator[None]:
    """Turn what the hub's client raises into input errors that say what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    repository = source.repository
    prefix = "datasets/" if source.kind == "dataset" else ""
    page = f"https://huggingface.co/{prefix}{repository}"
    # From the special to the general: each is a subclass of a later one.
    try:
        yield
    except GatedRepoError as error:
        expected = f"the licence accepted at {page} by your account, {SIGN_IN}"
        raise InputError(repository, "no access", expected) from error
    except RepositoryNotFoundError as error:
        expected = f"a repository that you may read; if {page} exists, {SIGN_IN}"
        raise InputError(repository, "not found", expected) from error
    except (EntryNotFoundError, HfHubHTTPError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise InputError(repository, f"no connection ({error})", REACHABLE) from error
        raise InputError(repository, error, "an answer of the hub; try again later") from error
    # HTTPError is that of the client's own library: its connection errors come through as they are.
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise InputError(repository, f"no connection ({error})", REACHABLE) from error


def _url_size(url: str) -> int:
    with _opened(urllib.request.Request(url, method="HEAD")) as answer:
        return int(answer.headers["Content-Length"])


def _fetch_url(url: str, path: Path) -> None:
    with (
        _opened(urllib.request.Request(url)) as answer,
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
    ):
        while piece := answer.read(PIECE_BYTES):
            file.write(piece)


@contextmanager
def _opened(request: urllib.request.Request) -> Iterator[Any]:
    """The answer to a request; `InputError` if there is none."""
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.URLError as error:
        raise InputError(request.full_url, error, "an answer; is there a connection?") from error
    with answer:
        yield answer
