"""The convolution before the scan and the gated norm after it."""

import pytest
import torch
import torch.nn.functional as F

from src.models.recon.scan.seam import causal_conv, gated_norm


@pytest.mark.parametrize("reverse", [False, True])
def test_convolution_sees_one_side_only(reverse: bool) -> None:
    """Catches taps in the wrong order, a look at the other side, a missing bias or SiLU."""
    sequence, weight, bias = torch.randn(2, 9, 5), torch.randn(5, 1, 4), torch.randn(5)
    expected = torch.empty_like(sequence)
    for t in range(9):
        total = bias.expand(2, 5).clone()
        for tap in range(4):
            seen = t + (3 - tap) if reverse else t - (3 - tap)
            if 0 <= seen < 9:
                total += weight[:, 0, tap] * sequence[:, seen]
        expected[:, t] = F.silu(total)
    torch.testing.assert_close(causal_conv(sequence, weight, bias, reverse), expected)


def test_gate_comes_before_the_norm() -> None:
    """Catches the norm before the gate, which another implementation of Mamba-2 uses."""
    y, gate, weight = torch.randn(2, 7, 6), torch.randn(2, 7, 6), torch.randn(6)
    gated = y * F.silu(gate)
    expected = gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight
    torch.testing.assert_close(gated_norm(y, gate, weight), expected)
    total = torch.randn(2, 7, 6)
    torch.testing.assert_close(gated_norm(y, gate, weight, total), total + expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reverse", [False, True])
def test_convolution_kernel_agrees(dtype: torch.dtype, reverse: bool) -> None:
    """Catches a kernel that reads the wrong rows of a slice, at the ends above all."""
    sequence = torch.randn(2, 333, 900, device="cuda", dtype=dtype)[..., 100:740]
    weight = torch.randn(640, 1, 4, device="cuda", dtype=dtype)
    bias = torch.randn(640, device="cuda", dtype=dtype)
    ours = causal_conv(sequence, weight, bias, reverse, "cuda").double()
    expected = causal_conv(sequence.double(), weight.double(), bias.double(), reverse, "torch")
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_total", [False, True])
def test_norm_kernel_agrees(dtype: torch.dtype, with_total: bool) -> None:
    """Catches a mean over the padding of a row, or a total that is not added."""
    y = torch.randn(2, 77, 384, device="cuda", dtype=dtype)
    gate = torch.randn(2, 77, 900, device="cuda", dtype=dtype)[..., 16:400]
    weight = torch.randn(384, device="cuda", dtype=dtype)
    total = torch.randn_like(y) if with_total else None
    before = None if total is None else total.double()
    expected = gated_norm(y.double(), gate.double(), weight.double(), before, "torch")
    ours = gated_norm(y, gate, weight, total, "cuda").double()
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)
