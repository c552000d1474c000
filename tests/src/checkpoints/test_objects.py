"""Torch files of more than weights: equal to what torch reads, bombs refused, nothing executed."""

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from corpus import generated

from src.checkpoints.archive import read_objects
from src.runtime import InputError

VALUES = {
    "moments": OrderedDict(a={"step": torch.tensor(3.0), "exp_avg": torch.rand(3, 4)}),
    "python": [3, list(range(625)), None],
    "view": (torch.arange(24).reshape(4, 6).T[1:3], True, 2.5, "text"),
    7: {"half": torch.ones(2, dtype=torch.bfloat16), "none": torch.empty(0)},
}
REFUSED = """
import resource, sys
from pathlib import Path
from src.checkpoints.archive import read_objects
from src.runtime import InputError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_objects(Path(sys.argv[1]), "tensors")
except InputError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown, error)
"""


class Attack:
    """Makes a file when it is unpickled by a reader that imports."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.victim}",)


def same(ours: object, theirs: object) -> bool:
    if isinstance(theirs, torch.Tensor):
        return isinstance(ours, torch.Tensor) and ours.dtype == theirs.dtype and ours.equal(theirs)
    if isinstance(theirs, dict):
        return (
            isinstance(ours, dict)
            and [*ours] == [*theirs]
            and all(same(ours[key], part) for key, part in theirs.items())
        )
    if isinstance(theirs, list | tuple):
        return (
            isinstance(ours, list | tuple)
            and type(ours) is type(theirs)
            and len(ours) == len(theirs)
            and all(map(same, ours, theirs))
        )
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new", [True, False])
def test_values_are_those_of_torch(tmp_path: Path, new: bool, protocol: int) -> None:
    """Catches lists that become tuples, numbers of another type, views that lose their strides."""
    path = tmp_path / "a.pt"
    torch.save(VALUES, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    found = read_objects(path, "values")
    # The restricted reader of torch stops at protocol 2.
    assert same(found, torch.load(path, weights_only=False)) and same(found, VALUES)


def test_tensors_outlive_the_file(tmp_path: Path) -> None:
    """Catches a training that reads its moments from a checkpoint which is replaced meanwhile."""
    path = tmp_path / "a.pt"
    torch.save([torch.ones(5000)], path)
    (found,) = read_objects(path, "a tensor")
    found.add_(1)
    path.write_bytes(bytes(path.stat().st_size))
    assert (found == 2).all()


@pytest.mark.parametrize("name", generated.TORCH_BOMBS)
def test_bombs_are_refused_before_anything_is_allocated(tmp_path: Path, name: str) -> None:
    """Catches a file of some kilobytes that fills the memory."""
    path = tmp_path / "a.pt"
    generated.TORCH_BOMBS[name](path)
    assert path.stat().st_size < 1 << 21
    command = [sys.executable, "-c", REFUSED, str(path)]
    # No more memory than the interpreter with torch needs.
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, message = done.stdout.split(" ", 1)
    assert int(grown) < 64 * 1024 and "a.pt: got " in message and message.count("\n") == 1


@pytest.mark.parametrize("new", [True, False])
def test_objects_are_named_and_not_made(tmp_path: Path, new: bool) -> None:
    """Catches an unpickler that calls what a file names."""
    path, victim = tmp_path / "a.pt", tmp_path / "victim"
    torch.save([torch.ones(1), Attack(victim)], path, _use_new_zipfile_serialization=new)
    with pytest.raises(InputError, match=r"a\.pt: got unreadable \(an object of posix\.system"):
        read_objects(path, "tensors")
    assert not victim.exists()


@pytest.mark.parametrize(
    "name", ["a list within itself", "a flipped bit", "the old format", "none"]
)
def test_odd_files_are_named(tmp_path: Path, name: str) -> None:
    """Catches a search without end, damage that no reader notices, and tracebacks."""
    path = tmp_path / "a.pt"
    if name == "a list within itself":
        endless: list[object] = []
        endless.append(endless)
        torch.save(endless, path)
    elif name != "none":
        torch.save([torch.rand(999)], path, _use_new_zipfile_serialization="old" not in name)
    if name == "a flipped bit":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pt: got .*(nested|CRC|before 1\.6|no such)"):
        read_objects(path, "tensors", checksums=True)
