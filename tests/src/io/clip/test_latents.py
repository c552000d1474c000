import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.io.clip.latents import read_latents, write_latents
from src.runtime import InputError


class Bomb:
    """Pickles into a program that makes a folder when run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.target,)


def archive_of(program: bytes, name: str = "scene_a/data.pkl") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, program)
        archive.writestr("scene_a/version", "3\n")
    return content.getvalue()


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_torch_save_is_read(tmp_path: Path, protocol: int, fortran: bool) -> None:
    """A global or byte encoding of one protocol that the allow-list forgot; swapped axes."""
    array = np.random.default_rng(0).normal(size=(1, 4, 3, 2, 5)).astype(np.float32)
    array = np.asfortranarray(array) if fortran else array
    path = tmp_path / "a.pkl"
    torch.save(array, path, pickle_protocol=protocol)
    assert np.array_equal(read_latents(path).numpy(), array[0])


def test_old_numpy_names_are_read(tmp_path: Path) -> None:
    """Published files, written by numpy 1, which says `numpy.core`."""
    array = np.ones((1, 2, 3, 4, 5), dtype=np.float32)
    program = pickle.dumps(array, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    path = tmp_path / "a.pkl"
    path.write_bytes(archive_of(program))
    assert torch.equal(read_latents(path), torch.ones(2, 3, 4, 5))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_torch_load_returns_the_array(tmp_path: Path, kind: torch.dtype) -> None:
    """A file that published readers (`torch.load`, also beside numpy 1) cannot use."""
    latents = torch.randn(16, 3, 4, 6, dtype=kind).transpose(2, 3)
    path = tmp_path / "latent" / "a.pkl"
    write_latents(path, latents)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = torch.load(path, weights_only=False)
    assert type(array) is np.ndarray and array.dtype == np.float32 and array.flags.writeable
    assert np.array_equal(array[0], latents.float().numpy())
    assert torch.equal(read_latents(path), latents.float())
    with zipfile.ZipFile(path) as archive:
        assert b"numpy.core.multiarray" in archive.read("archive/data.pkl")


def test_equal_latents_are_equal_files(tmp_path: Path) -> None:
    """Bytes that tell the time of the call, by which a run that was stopped differs."""
    path = tmp_path / "a.pkl"
    write_latents(path, torch.ones(16, 3, 4, 6))
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_foreign_global_is_named_and_not_called(tmp_path: Path, protocol: int) -> None:
    """Code execution by a downloaded latent file."""
    target, path = tmp_path / "boom", tmp_path / "a.pkl"
    hidden = {"latent": np.ones((1, 2, 3, 4, 5), np.float32), "extra": Bomb(target)}
    torch.save(hidden, path, pickle_protocol=protocol)
    with pytest.raises(InputError, match=r"calls for pathlib.*Path\.mkdir|getattr") as caught:
        read_latents(path)
    assert str(path) in str(caught.value)
    assert not target.exists()


def test_no_name_of_the_allow_list_reaches_the_real_object(tmp_path: Path) -> None:
    """Arguments to real constructors: `_codecs.encode` with any codec, `numpy.dtype` of objects."""
    path = tmp_path / "a.pkl"
    # GLOBAL, its arguments as text, TUPLE, REDUCE, STOP: what a hostile file would be made of.
    encode = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00ascii\x86R."
    path.write_bytes(archive_of(encode))
    with pytest.raises(InputError, match="encoding 'ascii'"):
        read_latents(path)
    path.write_bytes(archive_of(b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R."))
    with pytest.raises(InputError, match="a pickled Dtype"):
        read_latents(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((1, 2, 3, 4, 5)), "type .*f8"),
        (np.ones((1, 2, 3, 4, 5), ">f4"), "order='>'"),
        (np.ones((1, 2, 3, 4, 5), np.int32), "type .*i4"),
        (np.full((1, 2, 3, 4, 5), 1.0, object), "type .*O8"),
        (np.ones((2, 3, 4, 5), np.float32), r"shape \[2, 3, 4, 5\]"),
        (np.ones((2, 2, 3, 4, 5), np.float32), r"shape \[2, 2, 3, 4, 5\]"),
        (np.ones((1, 0, 3, 4, 5), np.float32), r"shape \[1, 0, 3, 4, 5\]"),
        (np.full((1, 2, 3, 4, 5), np.nan, np.float32), "non-finite"),
        ([1, 2, 3], "a pickled list"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, value: object, message: str) -> None:
    """Another type, byte order or rank, object arrays, NaN latents."""
    path = tmp_path / "a.pkl"
    torch.save(value, path, pickle_protocol=4)
    with pytest.raises(InputError, match=message):
        read_latents(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Missing, empty, truncated and foreign files; zip archives without or with two pickles."""
    path = tmp_path / "a.pkl"
    with pytest.raises(InputError, match="no such file"):
        read_latents(path)
    write_latents(path, torch.zeros(2, 3, 4, 5))
    whole = path.read_bytes()
    for broken in (b"", whole[:300], whole[:-20], pickle.dumps([1])):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="unreadable"):
            read_latents(path)
    path.write_bytes(archive_of(b"", "scene_a/other"))
    with pytest.raises(InputError, match="0 members data.pkl"):
        read_latents(path)


def test_damaged_pickles_give_input_errors_only(
    tmp_path: Path, flip_bytes: Callable[[bytes, int], bytes]
) -> None:
    """An exception of another type, or a crash, from a damaged program behind an intact zip."""
    path = tmp_path / "a.pkl"
    array = np.ones((1, 2, 1, 1, 2), np.float32)
    refused = 0
    for protocol in (2, 4):
        program = pickle.dumps(array, protocol=protocol)
        for seed in range(150):
            path.write_bytes(archive_of(flip_bytes(program, seed)))
            try:
                assert read_latents(path).shape == (2, 1, 1, 2)
            except InputError:
                refused += 1
    assert refused > 100


def test_latents_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    """A black clip that counts as finished: one NaN in the weights."""
    latents = torch.zeros(2, 3, 4, 5)
    latents[1, 1, 1, 1] = torch.nan
    with pytest.raises(InputError, match=r"a.pkl: got non-finite latents"):
        write_latents(tmp_path / "a.pkl", latents)
    assert list(tmp_path.iterdir()) == []
