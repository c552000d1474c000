"""Files of one JSON object, and what is none."""

from pathlib import Path

import pytest

from src.io.json_object import read_json_object
from src.runtime import InputError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "malformed JSON"),
        (b'{"a": 1', "malformed JSON"),
        (b'{"a": "\xff"}', "malformed JSON"),
        (b"[1, 2]", "a JSON list"),
        (b"null", "a JSON NoneType"),
    ],
)
def test_what_is_no_object_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Would catch a file that raises from inside the parser, or a list taken for an object."""
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"config.json: got {message}.* expected a JSON object"):
        read_json_object(path)


def test_an_object_is_read_as_utf8(tmp_path: Path) -> None:
    """Would catch the encoding of the machine's locale."""
    (tmp_path / "a.json").write_bytes('{"name": "Bär", "sizes": [1]}'.encode())
    assert read_json_object(tmp_path / "a.json") == {"name": "Bär", "sizes": [1]}
