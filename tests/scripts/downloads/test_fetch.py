"""Downloads through the hub's real client: what is fetched, resumed, checked, kept."""

import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from downloads.catalogue import Source
from downloads.fetch import SPARE_BYTES, Download
from downloads.stores import checksum, offers, part_path
from local_hub import LocalHub

from src.runtime import InputError

MODEL = "team/model/model.pt"
NAMES = ["config.json", "model.pt", "sub/encoder.jit"]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Download]:
    """Makes a download onto a disk with so many free bytes."""

    def make(free: int) -> Download:
        monkeypatch.setattr("downloads.fetch.free_bytes", lambda _: free)
        return Download()

    return make


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_only_what_is_needed_is_fetched(hub: LocalHub, source: Source, tmp_path: Path) -> None:
    """Catches whole repositories, a README of theirs, and parts that are left behind."""
    paths = Download()([(source, tmp_path / "w")])
    assert sorted(path.relative_to(tmp_path / "w").as_posix() for path in paths) == NAMES
    assert files_below(tmp_path / "w") == NAMES
    for name in NAMES:
        assert (tmp_path / "w" / name).read_bytes() == (
            hub.models["team/model"] / name
        ).read_bytes()


def test_a_second_run_fetches_nothing(
    hub: LocalHub, source: Source, tmp_path: Path, content: bytes
) -> None:
    """Catches files that are fetched again, and damaged or shortened ones that stay."""
    Download()([(source, tmp_path)])
    hub.heal()
    Download()([(source, tmp_path)])
    assert hub.sent("") == []
    (tmp_path / "model.pt").write_bytes(bytes(len(content)))
    (tmp_path / "sub" / "encoder.jit").write_bytes(b"j")
    (tmp_path / "config.json").write_text("[]")
    Download()([(source, tmp_path)])
    assert len(hub.sent("")) == 3
    assert (tmp_path / "model.pt").read_bytes() == content
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("kind", ["hub", "plain"])
def test_a_cut_connection_is_taken_up(
    hub: LocalHub, source: Source, plain: Source, tmp_path: Path, kind: str
) -> None:
    """Catches a download that starts anew, or that appends to what it has a second time."""
    name, chosen = (MODEL, source) if kind == "hub" else ("vgg.pth", plain)
    size = 300_000 if kind == "hub" else 5000
    hub.cut(name, after=size - 1000)
    path = Download()([(chosen, tmp_path / "w")])[-1 if kind == "plain" else 1]
    first, second = hub.sent(name)
    assert first.range is None and first.sent == size - 1000
    if kind == "hub":
        # Whole pieces are kept; the last, unfinished one comes again.
        assert second.range == f"bytes={size - second.sent}-" and second.sent < 2**14 + 1000
    assert path.stat().st_size == size


def test_a_later_run_goes_on(
    hub: LocalHub, source: Source, tmp_path: Path, content: bytes, room: Callable[[int], Download]
) -> None:
    """Catches 45 GB that start anew because the process before was killed."""
    offer = offers(source)["model.pt"]
    (tmp_path / "model.pt").write_bytes(b"damaged")
    part_path(tmp_path / "model.pt", offer.version).write_bytes(content[:200_000])
    part_path(tmp_path / "model.pt", "earlier").write_bytes(b"of an earlier version")
    # What is there already needs no room.
    left = 100_000 - len(b"damaged") + 3000 + 2
    with pytest.raises(InputError, match="GB free"):
        room(SPARE_BYTES + left - 1)([(source, tmp_path)])
    room(SPARE_BYTES + left)([(source, tmp_path)])
    (request,) = hub.sent(MODEL)
    assert request.range == "bytes=200000-" and request.sent == 100_000
    assert (tmp_path / "model.pt").read_bytes() == content
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("kind", ["hub", "plain"])
def test_damage_on_the_way_is_mended_once(
    hub: LocalHub, source: Source, plain: Source, tmp_path: Path, kind: str
) -> None:
    """Catches damage that is accepted, under the file's name or as a part to go on with."""
    name, chosen = (MODEL, source) if kind == "hub" else ("vgg.pth", plain)
    hub.damage(name)
    Download()([(chosen, tmp_path / "a")])
    assert len(hub.sent(name)) == 2
    assert (tmp_path / "a" / chosen.files[0]).read_bytes().strip(b"\0")


def test_lasting_damage_is_named_and_not_kept(
    hub: LocalHub, source: Source, tmp_path: Path, content: bytes
) -> None:
    """Catches a download that never ends, and a damaged file that counts as there."""
    hub.damage(MODEL, times=-1)
    with pytest.raises(InputError, match=r"model.pt: got sha256:.* in two downloads.*sha256:"):
        Download()([(source, tmp_path / "w")])
    assert len(hub.sent(MODEL)) == 2
    assert files_below(tmp_path / "w") == ["config.json"]
    hub.heal()
    Download()([(source, tmp_path / "w")])
    assert (tmp_path / "w" / "model.pt").read_bytes() == content


def test_another_version_on_the_hub_is_kept_and_said(
    hub: LocalHub, source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches 15 GB that are fetched twice and refused because the hub has a newer file."""
    other = b"another version" * 1000
    (hub.models["team/model"] / "model.pt").write_bytes(other)
    hub.read_folders()
    download = Download()
    paths = download([(source, tmp_path)])
    # The remaining files came too.
    assert [path.name for path in download.others] == ["model.pt"] and len(paths) == 3
    assert len(hub.sent(MODEL)) == 1 and (tmp_path / "model.pt").read_bytes() == other
    assert checksum(tmp_path / "model.pt", "md5") in caplog.text
    assert source.checksums["model.pt"] in caplog.text and "another version" in caplog.text
    hub.heal()
    accepted: dict[str, str] = {}
    download = Download(accepted, accept=True)
    download([(source, tmp_path)])
    assert accepted == {"model/model.pt": f"md5:{checksum(tmp_path / 'model.pt', 'md5')}"}
    caplog.clear()
    again = Download(accepted)
    again([(source, tmp_path)])
    assert not download.others and not again.others and hub.sent("") == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_accepted_version_may_still_be_damaged(
    hub: LocalHub, source: Source, tmp_path: Path
) -> None:
    """Catches an acceptance that covers whatever lies there later."""
    (hub.models["team/model"] / "model.pt").write_bytes(b"another version" * 1000)
    hub.read_folders()
    accepted: dict[str, str] = {}
    Download(accepted, accept=True)([(source, tmp_path)])
    (tmp_path / "model.pt").write_bytes(bytes(15_000))
    Download(accepted)([(source, tmp_path)])
    assert checksum(tmp_path / "model.pt", "md5") in accepted["model/model.pt"]
    assert len(hub.sent(MODEL)) == 2


def test_the_checked_version_stays_when_the_hub_has_another(
    hub: LocalHub, source: Source, tmp_path: Path, content: bytes
) -> None:
    """Catches a sound file that is replaced because the hub's is of another size."""
    Download()([(source, tmp_path)])
    (hub.models["team/model"] / "model.pt").write_bytes(b"another version" * 1000)
    hub.read_folders()
    hub.heal()
    download = Download()
    download([(source, tmp_path)])
    assert hub.sent("") == [] and not download.others
    assert (tmp_path / "model.pt").read_bytes() == content


def test_another_version_of_a_plain_address(hub: LocalHub, plain: Source, tmp_path: Path) -> None:
    """Catches a server without digests whose new file is called damaged for good."""
    hub.plain["vgg.pth"].write_bytes(b"other" * 1000)
    hub.read_folders()
    download = Download()
    download([(plain, tmp_path / "w")])
    assert [path.name for path in download.others] == ["vgg.pth"]
    assert len(hub.sent("vgg.pth")) == 2
    hub.heal()
    accepted: dict[str, str] = {}
    Download(accepted, accept=True)([(plain, tmp_path / "w")])
    assert "lpips/vgg.pth" in accepted and hub.sent("") == []


def test_a_full_disk_is_seen_before_the_first_byte(
    hub: LocalHub, source: Source, tmp_path: Path, room: Callable[[int], Download]
) -> None:
    """Catches hours of download that end in a full disk, and files counted that are there."""
    total, folder = 300_000 + 3000 + 2, tmp_path / "a" / "b"
    with pytest.raises(InputError, match="GB free"):
        room(SPARE_BYTES + total - 1)([(source, folder)])
    assert hub.sent("") == [] and not folder.exists()
    room(SPARE_BYTES + total)([(source, folder)])
    room(SPARE_BYTES)([(source, folder)])


def test_two_sources_on_one_disk_share_its_room(
    hub: LocalHub, source: Source, tmp_path: Path, room: Callable[[int], Download]
) -> None:
    """Catches a check that looks at each folder alone."""
    data = replace(source, repository="team/data", kind="dataset")
    pair = [(source, tmp_path / "a"), (data, tmp_path / "b")]
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="for 6 files"):
        room(SPARE_BYTES + 303_002)(pair)
    room(2 * SPARE_BYTES)(pair)
    assert files_below(tmp_path / "b") == NAMES


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "model.pt.*a full disk"),
        (PermissionError(errno.EACCES, "Permission denied"), "model.pt.*run it again"),
    ],
)
def test_a_disk_that_refuses_is_named(
    hub: LocalHub,
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    words: str,
) -> None:
    """Catches a traceback in the place of the file's name."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.file_download.http_get", refuse)
    only = replace(source, files=("model.pt",), optional=())
    with pytest.raises(InputError, match=words):
        Download()([(only, tmp_path)])


def test_one_download_of_a_file_at_a_time(hub: LocalHub, source: Source, tmp_path: Path) -> None:
    """Catches two processes that append to the same part."""
    import fcntl

    offer = offers(source)["model.pt"]
    with part_path(tmp_path / "model.pt", offer.version).open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another download"):
            Download()([(source, tmp_path)])


def test_a_repository_without_the_file_is_refused(
    hub: LocalHub, source: Source, tmp_path: Path
) -> None:
    """Catches an incomplete model that counts as downloaded."""
    (hub.models["team/model"] / "model.pt").unlink()
    hub.read_folders()
    with pytest.raises(InputError, match="no file model.pt"):
        Download()([(source, tmp_path)])
    assert hub.sent("") == []
