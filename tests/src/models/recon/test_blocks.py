"""Patch embeddings against the convolution whose parameters they hold."""

import pytest
import torch

from src.models.recon.blocks import PatchEmbed


def test_tokens_are_patches_in_row_major_order() -> None:
    """Catches exchanged rows and columns of a patch or of the grid, and a missing norm."""
    embed = PatchEmbed(channels=3, width=8, patch=2)
    clip = torch.randn(2, 4, 3, 6, 10)
    convolved = embed.proj(clip.movedim(2, 1)).flatten(2).mT
    torch.testing.assert_close(embed(clip), embed.norm(convolved))


def test_zero_start_adds_nothing() -> None:
    """Catches conditioning that disturbs a network trained without it."""
    embed = PatchEmbed(channels=3, width=8, patch=2, zero=True)
    assert (embed(torch.randn(1, 2, 3, 4, 4)) == 0).all()


def test_latents_that_leave_a_rest_are_refused() -> None:
    """Catches rows that are dropped silently."""
    with pytest.raises(AssertionError, match="5x4"):
        PatchEmbed(3, 8, 2)(torch.randn(1, 2, 3, 5, 4))
