"""Tensors kept by key."""

import torch

from src.tokenizer.kept import Kept


def test_the_latest_stay_within_the_bytes() -> None:
    """A store that grows without bound, or throws out what was asked for last."""
    kept = Kept(3 * 40)
    for name in "abc":
        kept.add(name, torch.full((10,), float(ord(name))))
    assert kept.bytes == 120 and kept.get("a") is not None
    kept.add("d", torch.zeros(10))
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]
    kept.add("large", torch.zeros(31))
    assert kept.get("large") is None and len(kept) == 3
    kept.add("e", torch.zeros(25))
    assert len(kept) == 1 and kept.bytes == 100


def test_nothing_is_kept_in_no_bytes() -> None:
    """A store that can't be switched off."""
    kept = Kept(0)
    kept.add(1, torch.zeros(1))
    assert kept.get(1) is None and kept.bytes == 0
