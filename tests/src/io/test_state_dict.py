"""Tensors of a network against those that it needs."""

from pathlib import Path

import pytest
import torch

from src.io.damage import check_tensors, read_safetensors
from src.runtime import NAMES_SHOWN, InputError, listed

WANTED = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}


def test_the_wanted_tensors_pass_in_any_order_and_type() -> None:
    """Would catch a check of order, or of the type that weights are stored in."""
    check_tensors(Path("x"), {"b": torch.ones(4).half(), "a": torch.ones(2, 3)}, WANTED, "it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": None}, r"1 missing: b \[4\]"),
        ({"c": torch.zeros(1)}, r"1 unexpected: c \[1\]"),
        ({"a": torch.zeros(3, 2)}, r"1 of another shape: a \[3, 2\] instead of \[2, 3\]"),
        ({"a": torch.zeros(2, 3).int()}, r"1 not floating-point: a torch.int32"),
    ],
)
def test_each_difference_is_named(change: dict[str, torch.Tensor | None], message: str) -> None:
    """Would catch a difference that passes in silence, or without its tensor's name."""
    found = {name: part for name, part in (WANTED | change).items() if part is not None}
    with pytest.raises(InputError, match=f"file: got {message}, expected exactly the 2 tensors"):
        check_tensors(Path("file"), found, WANTED, "the network")


def test_long_lists_are_cut_and_counted() -> None:
    """Would catch a message of a thousand names, or a wrong count of those left out."""
    names = [str(index) for index in range(NAMES_SHOWN + 2)]
    assert listed(names).endswith(f"{NAMES_SHOWN - 1} and 2 more")
    assert listed(names[:-2]).endswith(f", {NAMES_SHOWN - 1}")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Would catch an error of the reading library, which does not say which file it was."""
    (tmp_path / "a.safetensors").write_bytes(b"0" * 20)
    for name in ("a.safetensors", "b.safetensors"):
        with pytest.raises(InputError, match=name):
            read_safetensors(tmp_path / name)
