"""Triton kernels against their twins, and attention in 8 bits against exact attention."""

import pytest
import torch

from cosmos_predict1.diffusion.model.kernels import fused, twin
from cosmos_predict1.diffusion.model.kernels.attention import (
    attend,
    attend_8_bit,
    attends_in_8_bits,
)
from cosmos_predict1.diffusion.model.kernels.rows import Float8Rows

pytestmark = pytest.mark.gpu
# One rounding in the place of up to four.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 6e-3}


def relative(ours: torch.Tensor | Float8Rows, expected: torch.Tensor | Float8Rows) -> float:
    wide = [
        p.wide(torch.float32) if isinstance(p, Float8Rows) else p.float() for p in (ours, expected)
    ]
    return float(torch.linalg.vector_norm(wide[0] - wide[1]) / torch.linalg.vector_norm(wide[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [48, 4096])
def test_residuals_and_norms(dtype: torch.dtype, width: int) -> None:
    """Would catch a batch item with another's modulation, or a sum that the norm does not see."""
    tokens, branch = torch.randn(2, 2, 7, width, device="cuda", dtype=dtype)
    position = torch.randn(1, 7, width, device="cuda", dtype=dtype)
    shift, factor, gate = torch.randn(2, 3 * width, device="cuda", dtype=dtype).chunk(3, dim=-1)
    limit = TOLERANCES[dtype]
    ours = fused.added(tokens, branch.clone(), gate)
    assert relative(ours, twin.added(tokens, branch, gate)) < limit
    for given in ((None, None, position), (branch, gate, None), (branch, gate, position)):
        for eight_bit in (False, True):
            expected = twin.modulated_norm(tokens, *given, (shift, factor), eight_bit)
            first = None if given[0] is None else branch.clone()
            ours = fused.modulated_norm(tokens, first, *given[1:], (shift, factor), eight_bit)
            assert relative(ours[0], expected[0]) < limit
            # A number at the edge of two 8-bit ones may go to the other side.
            assert relative(ours[1], expected[1]) < (3e-2 if eight_bit else limit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "channels"), [(3, 18), (32, 128)])
def test_normed_heads(dtype: torch.dtype, heads: int, channels: int) -> None:
    """Would catch angles of another token, or halves that are turned the wrong way."""
    x = torch.randn(2, 7, heads, channels, device="cuda", dtype=dtype)
    weight = torch.randn(channels, device="cuda", dtype=dtype)
    angles = torch.randn(7, channels // 2, device="cuda").repeat(1, 2)
    for rotary in (None, (angles.cos(), angles.sin())):
        expected = twin.normed_heads(x, weight, rotary)
        assert relative(fused.normed_heads(x.clone(), weight, rotary), expected) < TOLERANCES[dtype]


def test_rows() -> None:
    """Would catch the GELU's approximation by tanh, or a scale of another row."""
    x = 3 * torch.randn(2, 5, 16384, device="cuda", dtype=torch.bfloat16)
    assert relative(fused.rows_of(x), twin.rows_of(x)) < 3e-2
    assert relative(fused.gelu_rows(x), twin.gelu_rows(x.float())) < 3e-2


@pytest.fixture
def eight_bits() -> None:
    """Skips a test where attention in 8 bits does not run."""
    if not attends_in_8_bits(torch.device("cuda")):
        pytest.skip("needs compute capability 9.0")


@pytest.mark.usefixtures("eight_bits")
@pytest.mark.parametrize("length", [512, 333, 90])
@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_attention_in_8_bits(length: int, sharpness: float) -> None:
    """Would catch keys beyond the end, a scale of another group, or a mean that is left in."""
    query, key, value = torch.randn(3, 2, length, 3, 128, device="cuda", dtype=torch.bfloat16)
    # Channels with a mean, as keys have; without smoothing they would fill the 8 bits.
    key = sharpness * key + 8 * torch.randn(3, 128, device="cuda", dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = attend(query.float(), key.float(), value.float())
        ours = attend_8_bit(query, key, value)
    assert relative(ours, expected) < 0.08 * sharpness**0.5


@pytest.mark.usefixtures("eight_bits")
@pytest.mark.parametrize("part", [0, 1, 2])
def test_attention_in_8_bits_hides_no_nan(part: int) -> None:
    """Would catch a number that is none, and is taken for a weight."""
    parts = torch.randn(3, 1, 256, 2, 128, device="cuda", dtype=torch.bfloat16)
    parts[part, 0, 7, 1, 5] = float("nan")
    with torch.inference_mode():
        ours = attend_8_bit(*parts)
    assert ours[:, :, 0].isfinite().all()
    # A query is mixed by itself; keys and values go into all.
    assert ours[0, 7, 1].isnan().any() if part == 0 else ours[0, :, 1].isnan().any(-1).all()
