"""What a user is told when the hub refuses, fails or is out of reach."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from downloads.catalogue import Source
from downloads.fetch import Download
from downloads.stores import fetch, offers, part_path
from local_hub import LocalHub

from src.runtime import InputError


@pytest.mark.parametrize(("token", "status"), [("", 401), ("hf_of_nobody", 403)])
def test_a_licence_is_asked_for_before_the_first_byte(
    hub: LocalHub,
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    status: int,
) -> None:
    """Catches a bare 403, and hours of other downloads before it."""
    monkeypatch.setenv("HF_TOKEN", token)
    hub.gate("team/model")
    data = replace(source, repository="team/data", kind="dataset")
    words = "licence accepted at https://huggingface.co/team/model .*hf auth login.*HF_TOKEN"
    with pytest.raises(InputError, match=words):
        Download()([(data, tmp_path / "a"), (source, tmp_path / "b")])
    assert status in {request.status for request in hub.requests}
    assert hub.sent("") == []


def test_a_token_stays_on_the_hub(
    hub: LocalHub, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a user's token that is sent to the servers which store the files."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    Download()([(source, tmp_path)])
    asked = [request for request in hub.requests if "/cdn/" in request.path]
    assert asked and not any(request.token for request in asked)
    others = [request for request in hub.requests if "/cdn/" not in request.path]
    assert all(request.token == "Bearer hf_of_somebody" for request in others)


@pytest.mark.parametrize("token", ["", "hf_of_somebody"])
def test_a_repository_that_is_not_there(
    hub: LocalHub, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """Catches a repository that moved away behind an error of the client."""
    monkeypatch.setenv("HF_TOKEN", token)
    hub.lose("team/model")
    words = "got not found.*if https://huggingface.co/team/model exists.*hf auth login"
    with pytest.raises(InputError, match=words):
        Download()([(source, tmp_path)])


@pytest.mark.parametrize("name", ["team/model", "team/model/model.pt"])
def test_one_error_of_the_server_is_passed_over(
    hub: LocalHub, source: Source, tmp_path: Path, content: bytes, name: str
) -> None:
    """Catches a run that ends because the hub stumbled once, while listing or while sending."""
    hub.fail(name, 500)
    Download()([(source, tmp_path)])
    assert (tmp_path / "model.pt").read_bytes() == content
    hub.fail("team/data", 500, times=-1)
    data = replace(source, repository="team/data", kind="dataset")
    with pytest.raises(InputError, match="team/data: got an error.*500.*try again later"):
        Download()([(data, tmp_path / "b")])


def test_an_error_in_the_middle_is_passed_over(
    hub: LocalHub, source: Source, tmp_path: Path, content: bytes
) -> None:
    """Catches a part that is appended to itself after an error of the server."""
    hub.cut("team/model/model.pt", after=100_000)
    offer = offers(source)["model.pt"]
    part = part_path(tmp_path / "model.pt", offer.version)
    part.write_bytes(content[:50_000])
    hub.fail("team/model/model.pt", 503, times=2)
    assert fetch(source, "model.pt", tmp_path / "model.pt", offer) == part
    assert part.read_bytes() == content
    assert [request.status for request in hub.requests].count(503) == 2


def test_no_connection_names_the_files_and_their_folders(
    source: Source, tmp_path: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a user behind a firewall who is not told what to copy, and where to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", closed)
    data = replace(source, repository="team/data", kind="dataset", files=("a.pt", "b.pt"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.pt").write_bytes(b"copied already")
    with pytest.raises(InputError) as caught:
        Download()([(source, tmp_path / "m"), (data, tmp_path / "d")])
    text = str(caught.value)
    assert "team/model: got no connection" in text and "\n" not in text
    assert f"copied by hand: model.pt, sub/* of team/model into {tmp_path / 'm'}" in text
    assert f"; b.pt of team/data into {tmp_path / 'd'}" in text


def test_offline_mode_is_named(
    hub: LocalHub, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback where HF_HUB_OFFLINE is set."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no connection.*copied by hand: model.pt"):
        Download()([(source, tmp_path)])


def test_a_plain_file_that_is_missing(hub: LocalHub, plain: Source, tmp_path: Path) -> None:
    """Catches a missing file without its address."""
    missing = replace(plain, files=("other.pth",))
    with pytest.raises(InputError, match=r"/plain: got an error.*404.*other.pth"):
        Download()([(missing, tmp_path / "w")])
    assert not (tmp_path / "w").exists()
