"""Downloads: what is fetched, what is checked, and what a user is told when it goes wrong."""

import errno
import hashlib
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from downloads.catalogue import SOURCES, Source
from downloads.fetch import SPARE_BYTES, checksum, download
from downloads.stores import Stores

from src.checkpoints import PLACES, find_checkpoint
from src.runtime import InputError


@dataclass
class Shelf:
    """A store of files in memory; `damaged` counts how often a file arrives broken."""

    files: dict[str, dict[str, bytes]]
    damaged: dict[str, int] = field(default_factory=dict)
    error: OSError | None = None
    fetched: list[tuple[str, bool]] = field(default_factory=list)

    def sizes(self, source: Source) -> dict[str, int]:
        return {name: len(content) for name, content in self.files[source.repository].items()}

    def fetch(self, source: Source, name: str, folder: Path, force: bool) -> None:
        self.fetched.append((name, force))
        if self.error is not None:
            raise self.error
        content = self.files[source.repository][name]
        if self.damaged.get(name, 0) > 0:
            self.damaged[name] -= 1
            content = bytes(len(content))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


CONTENT = b"weights" * 1000
SOURCE = Source(
    "team/model",
    "model",
    ("model.pt", "sub/*.jit"),
    "a model",
    optional=("config.json", "none.json"),
    checksums={"model.pt": md5(CONTENT)},
)
FILES = {
    "team/model": {
        "model.pt": CONTENT,
        "config.json": b"{}",
        "README.md": b"# model",
        "sub/encoder.jit": b"jit",
        "tf_model.h5": bytes(500),
    }
}


def test_only_what_is_needed_is_fetched(tmp_path: Path) -> None:
    """Catches whole repositories, and optional files that are forgotten or demanded."""
    shelf = Shelf(FILES)
    paths = download([(SOURCE, tmp_path)], shelf)
    names = ["config.json", "model.pt", "sub/encoder.jit"]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in paths) == names
    assert sorted(name for name, _ in shelf.fetched) == names
    assert all(path.is_file() for path in paths)


def test_a_second_run_fetches_nothing(tmp_path: Path) -> None:
    """Catches files that are fetched again, and damaged or shortened ones that stay."""
    shelf = Shelf(FILES)
    download([(SOURCE, tmp_path)], shelf)
    shelf.fetched.clear()
    download([(SOURCE, tmp_path)], shelf)
    assert shelf.fetched == []
    (tmp_path / "model.pt").write_bytes(bytes(len(CONTENT)))
    (tmp_path / "sub" / "encoder.jit").write_bytes(b"j")
    download([(SOURCE, tmp_path)], shelf)
    assert sorted(name for name, _ in shelf.fetched) == ["model.pt", "sub/encoder.jit"]
    assert (tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_wrong_checksum_is_tried_again_once(tmp_path: Path) -> None:
    """Catches damage that is accepted, or a download that never ends."""
    shelf = Shelf(FILES, {"model.pt": 1})
    download([(SOURCE, tmp_path)], shelf)
    tries = [force for name, force in shelf.fetched if name == "model.pt"]
    assert tries == [False, True] and (tmp_path / "model.pt").read_bytes() == CONTENT
    shelf = Shelf(FILES, {"model.pt": 5})
    with pytest.raises(InputError, match="model.pt.*second download.*md5:") as caught:
        download([(SOURCE, tmp_path / "other")], shelf)
    assert shelf.damaged["model.pt"] == 3
    assert hashlib.md5(bytes(len(CONTENT))).hexdigest() in str(caught.value)


def test_a_full_disk_is_seen_before_the_first_byte(tmp_path: Path) -> None:
    """Catches hours of download that end in a full disk, and files counted that are there."""
    total = len(CONTENT) + 2 + 3
    shelf = Shelf(FILES)
    with pytest.raises(InputError, match="GB free"):
        download([(SOURCE, tmp_path / "a" / "b")], shelf, lambda _: SPARE_BYTES + total - 1)
    assert shelf.fetched == []
    download([(SOURCE, tmp_path / "a" / "b")], shelf, lambda _: SPARE_BYTES + total)
    download([(SOURCE, tmp_path / "a" / "b")], shelf, lambda _: 0 + SPARE_BYTES)


def test_two_sources_on_one_disk_share_its_room(tmp_path: Path) -> None:
    """Catches a check that looks at each folder alone."""
    pair = [(SOURCE, tmp_path / "a"), (SOURCE, tmp_path / "b")]
    (tmp_path / "a").mkdir()
    room = SPARE_BYTES + len(CONTENT) + 5
    with pytest.raises(InputError, match="for 6 files"):
        download(pair, Shelf(FILES), lambda _: room)


def test_a_disk_that_fills_up_and_a_lost_connection_are_named(tmp_path: Path) -> None:
    """Catches a traceback in the place of the file's name."""
    for error, words in (
        (OSError(errno.ENOSPC, "No space left on device"), "a full disk"),
        (TimeoutError("timed out"), "run it again"),
    ):
        with pytest.raises(InputError, match=words):
            download([(SOURCE, tmp_path)], Shelf(FILES, error=error))


def test_a_repository_without_the_file_is_refused(tmp_path: Path) -> None:
    """Catches an incomplete model that counts as downloaded."""
    files = {"team/model": {"config.json": b"{}"}}
    with pytest.raises(InputError, match="no file model.pt"):
        download([(SOURCE, tmp_path)], Shelf(files))


def test_checksums_are_those_of_the_whole_file(tmp_path: Path) -> None:
    """Catches a last piece that is left out."""
    content = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(content)
    assert checksum(tmp_path / "f", "md5") == hashlib.md5(content).hexdigest()
    assert checksum(tmp_path / "f", "sha256") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gen3c", ["generator"]),
        ("tokenizer", ["tokenizer"]),
        ("lyra", ["decoder_static", "decoder_dynamic"]),
        ("t5", ["t5"]),
        ("moge", ["moge"]),
        ("depth_anything", ["depth_anything"]),
        ("video_depth_anything", ["video_depth_anything"]),
        ("lpips", ["lpips"]),
    ],
)
def test_what_is_downloaded_is_found(tmp_path: Path, name: str, parts: list[str]) -> None:
    """Catches a tree that the programs don't look into, or files that are not enough."""
    for source in SOURCES[name]:
        files = {source.repository: dict.fromkeys(source.files, b"")}
        unchecked = Source(source.repository, source.folder, source.files, "")
        download([(unchecked, tmp_path / source.folder)], Shelf(files))
    for part in parts:
        assert part in PLACES and find_checkpoint(part, tmp_path).exists()


def test_checksums_belong_to_files_of_their_source() -> None:
    """Catches a checksum under another name, which would never be compared."""
    for sources in SOURCES.values():
        for source in sources:
            assert set(source.checksums) <= {*source.files, *source.optional}
            for text in source.checksums.values():
                algorithm, digest = text.split(":")
                assert algorithm in hashlib.algorithms_guaranteed and int(digest, 16)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GatedRepoError", "licence accepted at https://huggingface.co/team/model .*HF_TOKEN"),
        ("RepositoryNotFoundError", "not found"),
        ("LocalEntryNotFoundError", "no connection"),
        ("OfflineModeIsEnabled", "no connection"),
        ("HTTPError", "no connection"),
        ("RemoteEntryNotFoundError", "try again later"),
        ("HfHubHTTPError", "try again later"),
    ],
)
def test_refusals_of_the_hub_are_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """Catches a licence that has to be accepted behind a bare 403, or a wrong explanation."""
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, name)
    needs = name not in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "HTTPError")
    answer = SimpleNamespace(headers={}, status_code=403, url="u", request=SimpleNamespace())
    error = kind("refused", response=answer) if needs else kind("refused")

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(InputError, match=words):
        Stores().fetch(SOURCE, "model.pt", tmp_path, force=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_tree", refuse)
    with pytest.raises(InputError, match=words):
        Stores().sizes(SOURCE)


def test_the_hub_is_asked_for_the_right_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a data set that is looked for among the models, and folders taken for files."""
    import huggingface_hub

    asked: dict[str, object] = {}
    entries = [SimpleNamespace(path="a/b.pt", size=3), SimpleNamespace(path="a")]

    def tree(_: object, repository: str, **options: object) -> list[SimpleNamespace]:
        asked.update(options, repository=repository)
        return entries

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_tree", tree)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *names, **options: asked.update(options)
    )
    demo = SOURCES["demo"][0]
    assert Stores().sizes(demo) == {"a/b.pt": 3}
    assert asked == {"recursive": True, "repo_type": "dataset", "repository": demo.repository}
    Stores().fetch(demo, "a/b.pt", tmp_path, force=True)
    assert asked["repo_type"] == "dataset" and asked["force_download"] is True
    assert asked["local_dir"] == tmp_path


def test_plain_urls(tmp_path: Path) -> None:
    """Catches files of a URL source that are cut short, and a missing one without its address."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.pth").write_bytes(CONTENT)
    source = Source(served.as_uri(), "lpips", ("a.pth",), "", kind="url")
    paths = download([(source, tmp_path / "got")], Stores())
    assert paths[0].read_bytes() == CONTENT
    missing = Source(served.as_uri(), "lpips", ("b.pth",), "", kind="url")
    with pytest.raises(InputError, match="b.pth") as caught:
        download([(missing, tmp_path / "got")], Stores())
    assert isinstance(caught.value.__cause__, urllib.error.URLError)
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["a.pth"]


def test_the_command_puts_files_into_the_published_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches an error that leaves exit code 0, and a checkpoint folder that is ignored."""
    from download_checkpoints import main

    content = {"lyra_static.pt": b"s", "lyra_dynamic.pt": b"d", "README.md": b""}
    monkeypatch.setattr("downloads.stores.Stores", lambda: Shelf({"nvidia/Lyra": content}))
    arguments = ["download_checkpoints.py", "--what", "lyra", "--checkpoint_dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 0
    assert sorted(path.name for path in (tmp_path / "Lyra").iterdir()) == sorted(content)[1:]
    content.pop("lyra_static.pt")
    assert main() == 1
    assert "lyra_static.pt" in capsys.readouterr().err
