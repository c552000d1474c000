"""Canvases and clips of them."""

from functools import partial

import pytest
import torch

from nano.worlds.canvases.clips import CanvasMotion, canvas_clips
from nano.worlds.canvases.library import COMPOSITES, TEXTURES, Library, build_library
from nano.worlds.canvases.textures import Draws

SIZE = (32, 48)


@pytest.fixture(scope="module")
def library() -> Library:
    return build_library(1, 10, 4, SIZE, "cpu")


def test_a_canvas_is_its_seed_s_whatever_the_batch(library: Library) -> None:
    """A kind whose pictures change with their neighbours, or are not finite colours."""
    kinds = [partial(texture, size=SIZE) for _, texture in TEXTURES]
    kinds += [partial(composite, sources=library.canvases) for _, composite in COMPOSITES]
    for kind in kinds:
        pair, one = kind(Draws(torch.tensor([4, 11]))), kind(Draws(torch.tensor([11])))
        torch.testing.assert_close(pair[1:], one, rtol=0, atol=1e-5)
        assert pair.shape == (2, 3, *SIZE) and pair.min() >= 0 and pair.max() <= 1
        assert not torch.equal(pair[0], pair[1])


def test_a_clip_is_its_seed_s_whatever_the_batch(library: Library) -> None:
    """A layer that goes to another clip, or a motion that depends on the batch."""
    whole = canvas_clips(range(12), library, 3, (16, 24))
    some = canvas_clips([9, 2, 7], library, 3, (16, 24))
    assert whole.shape == (12, 3, 3, 16, 24) and whole.dtype == torch.uint8
    # Rounding may differ by one step.
    assert (whole[[9, 2, 7]].int() - some.int()).abs().max() <= 1
    assert len({clip.numpy().tobytes() for clip in whole}) == 12


def test_a_library_is_its_seed_s(library: Library) -> None:
    """Canvases from a generator that others use, too."""
    again = build_library(1, 10, 4, SIZE, "cpu")
    assert torch.equal(library.canvases, again.canvases)
    assert torch.equal(library.masks, again.masks)
    assert 0.05 < library.masks.float().mean() / 255 < 0.95


def test_still_clips_stand_still_and_others_move() -> None:
    """A share of still clips that drifts, or a motion that is none."""
    draws = Draws(torch.arange(50))
    still = torch.arange(50) % 2 == 0
    homography = CanvasMotion.draw(draws, still).at(torch.linspace(0, 1, 5).expand(50, 5))
    change = (homography - homography[:, :1]).abs().amax(dim=(1, 2, 3))
    assert change[still].max() < 1e-6 and change[~still].min() > 1e-3
