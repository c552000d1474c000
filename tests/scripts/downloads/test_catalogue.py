"""The table of what can be downloaded: it is found by the programs, and its sizes add up."""

import hashlib
from pathlib import Path

import pytest
from downloads.catalogue import DEFAULT, GROUPS, SOURCES, Source, expand, gigabytes
from downloads.stores import Digests, checksum

from src.checkpoints import PLACES, find_checkpoint


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
        for file in source.files:
            path = tmp_path / source.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
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


def test_what_belongs_to_a_repository_is_not_taken() -> None:
    """Catches a README or attributes of git that change the project's own, at any depth."""
    source = Source(
        repository="team/data", folder="assets/demo", files=("static/*", "*.json"), about=""
    )
    assert source.takes("static/a/b.mp4") and source.takes("c.json")
    for name in (".gitattributes", "README.md", "static/README.md", "static/a/.gitattributes"):
        assert not source.takes(name)


def test_groups_name_sources() -> None:
    """Catches a group of unknown names, and a default that lacks what a command needs."""
    for names in GROUPS.values():
        assert set(names) <= set(SOURCES)
    assert set(GROUPS["all"]) == set(SOURCES)
    assert set(DEFAULT) == {"gen3c", "tokenizer", "lyra", "t5", "moge"}
    assert expand(["training", "tokenizer", "moge"]) == ["tokenizer", "lpips", "moge"]
    assert gigabytes(DEFAULT) == pytest.approx(sum(gigabytes([name]) for name in DEFAULT))


def test_checksums_are_those_of_the_whole_file(tmp_path: Path) -> None:
    """Catches a last piece that is left out, and a name of git's without the size in it."""
    content = bytes(range(256)) * 20_000
    path = tmp_path / "f"
    path.write_bytes(content)
    assert checksum(path, "md5") == hashlib.md5(content).hexdigest()
    assert checksum(path, "sha256") == hashlib.sha256(content).hexdigest()
    path.write_bytes(b"hello\n")
    # As `git hash-object` prints it.
    assert checksum(path, "git-sha1") == "ce013625030ba8dba906f756967f9e9ca394464a"
    digests = Digests(path)
    assert digests.fit("git-sha1:ce0136") and not digests.fit("git-sha1:ce0137")
    assert not digests.fit(None)
