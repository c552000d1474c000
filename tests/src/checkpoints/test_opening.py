"""Files of weights of every format: equal to what torch reads, and no damage without its name."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from src.checkpoints.archive import ARCHIVE, MAGIC, OLD, PROTOCOL
from src.checkpoints.kinds import unfinished, why_unreadable
from src.checkpoints.opening import SAFETENSORS, open_weights, plain_names, read_tensors
from src.runtime import InputError

BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "transposed": BASE.T,
    "slice": BASE[1:3, 2:5],
    "half": BASE.half(),
    "brain": BASE.bfloat16(),
    "int": torch.arange(5),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "empty": torch.empty(0, 3),
    "parameter": torch.nn.Parameter(torch.ones(3)),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
}


class Bookkeeping:
    """What a training framework stores beside the weights."""

    def __init__(self) -> None:
        self.step, self.history = 7, [1.0, 2.0]


class Attack:
    """Makes a file when it is unpickled by a reader that imports."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.victim}",)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape, name
        assert torch.equal(ours[name].double(), tensor.double()), name


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new", [True, False])
def test_torch_files_are_read_as_torch_reads_them(tmp_path: Path, new: bool, protocol: int) -> None:
    """Catches strides, offsets, types and alignments that the own reader ignores."""
    path = tmp_path / "file.pt"
    content = {"module": OrderedDict(TENSORS), "other": Bookkeeping(), "numbers": [torch.ones(2)]}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    weights = open_weights(path)
    assert weights.kind == (ARCHIVE if new else OLD)
    assert (weights.wrappers, set(weights.beside)) == (("module",), {"other", "numbers"})
    assert_same(weights.read(), TENSORS)


def test_safetensors_are_told_by_their_header(tmp_path: Path) -> None:
    """Catches types and shapes that differ from those of the file."""
    tensors = {name: part.detach().contiguous() for name, part in TENSORS.items()}
    save_file(tensors, tmp_path / "w.safetensors")
    weights = open_weights(tmp_path / "w.safetensors")
    assert weights.kind == SAFETENSORS
    found = {name: (part.dtype, part.shape) for name, part in weights.tensors.items()}
    assert found == {name: (part.dtype, tuple(part.shape)) for name, part in tensors.items()}
    assert_same(weights.read(), tensors)


@pytest.mark.parametrize("new", [True, False])
def test_hostile_pickles_run_nothing(tmp_path: Path, new: bool) -> None:
    """Catches an unpickler that calls or imports what a file names."""
    victim, path = tmp_path / "victim", tmp_path / "file.pt"
    content = {"before": Attack(victim), "model": {"a": torch.ones(2)}, "after": [Attack(victim)]}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    assert torch.equal(open_weights(path).read()["a"], torch.ones(2))
    torch.save({"a": torch.ones(2), "b": Attack(victim)}, path, _use_new_zipfile_serialization=new)
    assert open_weights(path).others == ("b",)
    with pytest.raises(InputError, match=r"file\.pt.*no tensors under b"):
        read_tensors(path, "a")
    assert not victim.exists()


PICKLES = {
    "a memo of 32 GB": b"\x80\x02]r\xff\xff\xff\xff.",
    "a system call": b"cos\nsystem\n(S'true'\ntR.",
    "an instance": b"(S'true'\nios\nsystem\n.",
    "a name by number": b"\x80\x02\x82\x01.",
    "text without end": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "nothing": b"",
    "an empty stack": b"\x80\x02R.",
    "lists in lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
}


@pytest.mark.parametrize("name", PICKLES)
def test_odd_pickles_are_refused_with_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    """Catches tracebacks, memory without end and calls."""
    with zipfile.ZipFile(tmp_path / "odd.pt", "w") as archive:
        archive.writestr("odd/data.pkl", PICKLES[name])
    with pytest.raises(InputError, match=r"odd\.pt"):
        open_weights(tmp_path / "odd.pt")


def tensor_program(numel: int, offset: int, shape: str, stride: str) -> bytes:
    """A dictionary of one tensor, in the text form of pickles."""
    storage = f"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{numel}\ntQ"
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n({shape}t({stride}tI00\nNtR"
    return f"(dS'a'\n{tensor}s.".encode()


def test_numbers_are_not_read_before_they_are_used(tmp_path: Path) -> None:
    """Catches 64 GB that are read, or reserved, to say what a file is: here they are a hole."""
    parts = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, {})]
    parts += [tensor_program(2**34, 0, f"I{2**34}\n", "I1\n"), pickle.dumps(["0"], 2)]
    with (tmp_path / "large.pt").open("wb") as file:
        file.write(b"".join(parts) + (2**34).to_bytes(8, "little"))
        file.truncate(file.tell() + 2**36)
    weights = open_weights(tmp_path / "large.pt")
    assert weights.kind == OLD and weights.tensors["a"].shape == (2**34,)


PROMISES = {
    "a storage of 4 GB": (tensor_program(2**30, 0, "I8\n", "I1\n"), 8),
    "a tensor beyond its storage": (tensor_program(8, 4, "I8\n", "I1\n"), 8),
    "4 GB by a step of 0": (tensor_program(8, 0, f"I{2**30}\n", "I0\n"), 8),
    "a negative step": (tensor_program(8, 7, "I8\n", "I-1\n"), 8),
    "a negative size": (tensor_program(8, 0, "I-8\n", "I1\n"), 8),
    "a size of 5,000 digits": (tensor_program(8, 0, f"I{'9' * 4000}\n", "I1\n"), 8),
    "an endless storage": (tensor_program(2**80, 0, "I8\n", "I1\n"), 8),
}


@pytest.mark.parametrize("name", PROMISES)
def test_tensors_that_promise_too_much_are_refused(tmp_path: Path, name: str) -> None:
    """Catches memory that is reserved on the word of a file."""
    program, numbers = PROMISES[name]
    for step, kind in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / f"{step}.pt", "w", kind) as archive:
            archive.writestr("x/data.pkl", program)
            archive.writestr("x/data/0", bytes(4 * numbers))
        with pytest.raises(InputError, match=rf"{step}\.pt"):
            open_weights(tmp_path / f"{step}.pt")


def test_the_program_above_opens_where_it_is_right(tmp_path: Path) -> None:
    """Catches cases above that fail for another reason than the one that they are named for."""
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", tensor_program(8, 1, "I2\nI3\n", "I3\nI1\n"))
        archive.writestr("x/data/0", struct.pack("<8f", *range(8)))
    read = open_weights(tmp_path / "x.pt").read()["a"]
    assert torch.equal(read, torch.arange(1.0, 7.0).reshape(2, 3))


def test_deflated_numbers_are_refused(tmp_path: Path) -> None:
    """Catches a file of a kilobyte that grows to gigabytes."""
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", tensor_program(2**24, 0, f"I{2**24}\n", "I1\n"))
        archive.writestr("x/data/0", bytes(2**26), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "x.pt").stat().st_size < 2**17
    with pytest.raises(InputError, match="compressed"):
        open_weights(tmp_path / "x.pt")


@pytest.mark.parametrize("new", [True, False])
def test_every_cut_is_an_error_with_the_name(tmp_path: Path, new: bool) -> None:
    """Catches truncated files that open, or that end in a traceback."""
    path = tmp_path / "file.pt"
    content = {"a": torch.arange(50.0), "b": torch.ones(3)}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"file\.pt"):
            open_weights(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"Entry not found", "'Entry not found'"),
        (b"", "0 bytes"),
        (bytes(4096), "zeros"),
        (b"PK\x03\x04" + bytes(99), "cut off after 103"),
        (struct.pack("<Q", 10**9) + b'{"a": 1', "cut off after 15"),
    ],
)
def test_what_is_no_file_of_weights_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    """Catches an error of a reading library where a sentence would help."""
    (tmp_path / "model.pt").write_bytes(content)
    assert said in str(why_unreadable(tmp_path / "model.pt"))
    with pytest.raises(InputError, match="model.pt"):
        open_weights(tmp_path / "model.pt")


def test_downloads_that_have_not_ended_are_found(tmp_path: Path) -> None:
    """Catches half a file in the folder of the hub's client, out of sight."""
    for name in ("a/.cache/huggingface/download/x.incomplete", "b/model.pt.part", "b/model.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert [path.name for path in unfinished(tmp_path)] == ["x.incomplete", "model.pt.part"]


@pytest.mark.parametrize("prefix", ["", "module.", "network.", "model.", "module.network."])
def test_prefixes_of_frameworks_are_taken_off(prefix: str) -> None:
    """Catches weights that fit but for what a framework puts before every name."""
    names = {f"{prefix}encoder.a": 1, f"{prefix}b": 2, "logvar.x": 3}
    plain = plain_names(names, "encoder.a")
    assert [*plain.values()] == ["encoder.a", "b", "logvar.x"]
    assert [*plain_names({"other.encoder.a": 1}, "encoder.a").values()] == ["other.encoder.a"]
