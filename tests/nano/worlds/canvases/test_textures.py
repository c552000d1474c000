"""Numbers that are functions of seeds."""

import torch

from nano.worlds.canvases.textures import Draws


def test_a_seed_has_its_numbers_whatever_the_batch() -> None:
    """Numbers that depend on the other seeds, on their order or on their number."""
    whole = Draws(torch.tensor([5, 7, 1 << 40, 9]))
    some = Draws(torch.tensor([1 << 40, 5]))
    for shape in ((), (3,), (2, 5)):
        assert torch.equal(whole.bits(*shape)[[2, 0]], some.bits(*shape))
    assert torch.equal(whole.normal(4)[[2, 0]], some.normal(4))


def test_numbers_are_independent_and_even() -> None:
    """Neighbouring seeds, calls or places with alike numbers; a normal of another spread."""
    draws = Draws(torch.arange(64))
    first, second = draws.uniform(1000), draws.uniform(1000)
    for values in (first, second):
        assert abs(float(values.mean()) - 0.5) < 0.005 and values.min() >= 0 and values.max() < 1
        counts = torch.histc(values, 20, 0, 1)
        assert counts.min() > 0.9 * counts.mean() and counts.max() < 1.1 * counts.mean()
    pairs = ((first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1]))
    for one, other in pairs:
        both = torch.stack([one.flatten(), other.flatten()])
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.02
    normal = draws.normal(1000)
    assert abs(float(normal.mean())) < 0.02 and abs(float(normal.std()) - 1) < 0.02
    index = draws.below(7, 1000)
    assert index.min() == 0 and index.max() == 6
    assert abs(float(draws.chance(0.3, 1000).float().mean()) - 0.3) < 0.01


def test_large_seeds_differ_from_small_ones() -> None:
    """A hash that forgets the upper half of a seed."""
    assert not torch.equal(*Draws(torch.tensor([3, 3 + (1 << 33)])).bits(8))
