"""The upsampling against the transposed convolution that it replaces."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.models.recon.heads import TemporalUpsample


def transposed_convolution(layer: TemporalUpsample, tokens: Tensor) -> Tensor:
    padding = (layer.temporal // 2, 0, 0)
    features = tokens.movedim(-1, 1)
    result = F.conv_transpose3d(features, layer.weight, layer.bias, layer.stride, padding)  # pyright: ignore[reportArgumentType]
    return result.movedim(1, -1)


@pytest.mark.parametrize(("latent_frames", "frames"), [(16, 121), (7, 49), (3, 17), (1, 1)])
def test_equals_the_transposed_convolution(latent_frames: int, frames: int) -> None:
    """Catches taps on the wrong frame, a wrong cut at the ends, a bias added twice."""
    layer = TemporalUpsample(24, 12, patch=2, stride=8)
    tokens = torch.randn(2, latent_frames, 3, 4, 24)
    ours = layer(tokens)
    assert ours.shape == (2, frames, 6, 8, 12)
    torch.testing.assert_close(ours, transposed_convolution(layer, tokens), rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([2, 4, 8]), st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
def test_single_cells_are_those_of_the_whole(
    stride: int, patch: int, latent_frames: int, seed: int
) -> None:
    """Catches wrong positions of pruned cells, in frames where two latent frames meet too."""
    torch.manual_seed(seed)
    layer = TemporalUpsample(8, 5, patch, stride)
    tokens = torch.randn(2, latent_frames, 2, 3, 8)
    whole = layer(tokens, slice(1, 4)).flatten(0, 3)
    cells = torch.randperm(len(whole))
    torch.testing.assert_close(layer.at(tokens, cells, slice(1, 4)), whole[cells])


def test_gradients_are_those_of_the_transposed_convolution() -> None:
    """Catches a detached tap or a gradient lost by the sum in place."""
    layer = TemporalUpsample(6, 3, patch=2, stride=4).double()
    tokens = torch.randn(1, 3, 2, 2, 6, dtype=torch.float64, requires_grad=True)
    assert layer.bias is not None
    leaves = (tokens, layer.weight, layer.bias)
    expected = transposed_convolution(layer, tokens)
    cotangent = torch.randn_like(expected)
    reference = torch.autograd.grad(expected, leaves, cotangent)
    cells = torch.randperm(expected[..., 0].numel())
    picked = cotangent.flatten(0, 3)[cells]
    for ours, weight in ((layer(tokens), cotangent), (layer.at(tokens, cells), picked)):
        gradients = torch.autograd.grad(ours, leaves, weight)
        torch.testing.assert_close(gradients, reference)
