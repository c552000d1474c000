"""Tiny inputs, written once."""

import shutil
from pathlib import Path

import pytest
from tiny_scene import TinyInput, write_tiny_input


@pytest.fixture(scope="session")
def static_input(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="session")
def dynamic_input(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("dynamic"), dynamic=True, scenes=1)


@pytest.fixture
def broken_input(static_input: TinyInput, tmp_path: Path) -> TinyInput:
    """A copy of the static input that a test may damage."""
    shutil.copytree(static_input.folder, tmp_path / "input")
    settings = tmp_path / "input/tiny.yaml"
    text = settings.read_text().replace(str(static_input.folder), str(tmp_path / "input"))
    settings.write_text(text)
    return TinyInput(tmp_path / "input", dynamic=False)
