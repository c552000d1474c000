"""A hub on this machine with a small repository, and the source that takes files of it."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from downloads.catalogue import Source
from local_hub import LocalHub

CONTENT = os.urandom(300_000)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


@pytest.fixture
def content() -> bytes:
    """What `model.pt` of the repository holds."""
    return CONTENT


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder that the hub serves as team/model."""
    folder = tmp_path / "hub" / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.pt").write_bytes(CONTENT)
    (folder / "sub" / "encoder.jit").write_bytes(b"jit" * 1000)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# model")
    (folder / "sub" / "README.md").write_text("# encoder")
    (folder / "tf_model.h5").write_bytes(bytes(500))
    return folder


@pytest.fixture
def hub(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The hub; this process downloads from it, in small pieces and without long pauses."""
    from huggingface_hub import constants

    plain = repository.parent / "vgg.pth"
    plain.write_bytes(CONTENT[:5000])
    datasets = {"team/data": repository}
    with LocalHub({"team/model": repository}, datasets, {"vgg.pth": plain}) as hub:
        hub.serve_this_process(monkeypatch)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**14)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield hub


@pytest.fixture
def source() -> Source:
    """What is needed of the repository."""
    return Source(
        repository="team/model",
        folder="model",
        files=("model.pt", "sub/*"),
        about="a model",
        optional=("config.json", "none.json"),
        checksums={"model.pt": md5(CONTENT)},
    )


@pytest.fixture
def plain(hub: LocalHub) -> Source:
    """A file of a plain address, whose server has no digest of it."""
    checksums = {"vgg.pth": md5(CONTENT[:5000])}
    return Source(
        repository=f"{hub.url}/plain",
        folder="lpips",
        files=("vgg.pth",),
        about="",
        kind="url",
        checksums=checksums,
    )
