"""Pointers of Git LFS are named as such, and arrays are read as numpy reads them."""

import gc
import io
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from src.checkpoints.kinds import why_unreadable
from src.io.damage import lfs_pointer, read_npy, read_npz
from src.io.image import read_image
from src.io.video.video import video_info
from src.runtime import InputError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def test_pointers_are_named(tmp_path: Path) -> None:
    """A picture, a video or weights of a checkout without Git LFS that pass for damaged ones."""
    for name, read in (("a.jpg", read_image), ("a.mp4", video_info)):
        path = tmp_path / name
        path.write_text(POINTER)
        with pytest.raises(InputError, match="git lfs pull"):
            read(path)
    assert "git lfs pull" in (why_unreadable(tmp_path / "a.jpg") or "")
    other = tmp_path / "short"
    other.write_text("version")
    assert lfs_pointer(other) is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize(
    "array",
    [
        np.float32(3.5),
        np.arange(5, dtype=">i2"),
        np.asfortranarray(np.arange(24, dtype="<f8").reshape(2, 3, 4)),
        np.zeros((0, 4), dtype=bool),
        np.array([1 + 2j]),
    ],
    ids=lambda array: f"{array.dtype.str} {array.shape}",
)
def test_arrays_are_those_of_numpy(
    tmp_path: Path, array: np.ndarray, version: tuple[int, int]
) -> None:
    """A header that is taken for another shape, order or type."""
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.asanyarray(array), version)
    found = read_npy(path, "an array")
    assert found.dtype == array.dtype and found.shape == array.shape
    assert np.array_equal(found, array)


def test_headers_that_numpy_would_not_write(tmp_path: Path) -> None:
    """Another writer's order of the keys that is refused, or a shape that is none and passes."""
    path = tmp_path / "a.npy"
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(6.0))
    plain = stream.getvalue()
    other = b"{'shape':(6,), 'fortran_order':False,'descr':'<f8'}"
    start, end = plain.index(b"{"), plain.index(b"\n")
    path.write_bytes(plain[:start] + other.ljust(end - start) + plain[end:])
    assert np.array_equal(read_npy(path, "an array"), np.arange(6.0))
    path.write_bytes(plain.replace(b"(6,)", b"(6) "))
    with pytest.raises(InputError, match="unreadable"):
        read_npy(path, "an array")
    path.write_bytes(plain[: start - 1])
    with pytest.raises(InputError, match="unreadable"):
        read_npy(path, "an array")


class Circle:
    """Garbage whose end lets another thread run."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        time.sleep(0)


@pytest.fixture
def restless() -> Iterator[None]:
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_threads_read_arrays_beside_each_other(tmp_path: Path) -> None:
    """A SystemError of CPython 3.11 and 3.12 where two threads parse headers as Python."""
    path = tmp_path / "a.npz"
    np.savez(path, data=np.zeros((5, 4, 4)), inds=np.arange(5))
    errors = []

    def read(depth: int) -> None:
        if depth:
            read(depth - 1)
            return
        try:
            for _ in range(1000):
                Circle()
                read_npz(path, "arrays")
        except SystemError as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(7 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
