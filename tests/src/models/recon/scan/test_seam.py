"""The selective scan: against the recurrence it stands for, its twin, and their gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.models.recon.scan.seam import choose_backend, selective_scan
from src.models.recon.scan.twin import chunk_scan, scan_gradients, selective_scan_reference

DIRECTIONS = pytest.mark.parametrize("reverse", [False, True])
NAMES = ("x", "dt", "A", "B", "C", "D")


def recurrence(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool
) -> Tensor:
    """The definition, one token after the other."""
    state = torch.zeros(*x[:, 0].shape, B.shape[-1], dtype=x.dtype)
    outputs = [x[:, 0]] * x.shape[1]
    for t in sorted(range(x.shape[1]), reverse=reverse):
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        write = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, None, None]
        state = decay * state + write
        outputs[t] = (state * C[:, t, None, None]).sum(-1) + D[:, None] * x[:, t]
    return torch.stack(outputs, dim=1)


def arguments(
    length: int, heads: int = 2, width: int = 3, state: int = 4, batch: int = 2
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Random arguments in float64; some decays reach exp(-3) a step, some are near 1."""
    random = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    return (
        random(batch, length, heads, width),
        random(batch, length, heads).exp() / 4,
        -random(heads).exp(),
        random(batch, length, state),
        random(batch, length, state),
        random(heads),
    )


def error(ours: Tensor, reference: Tensor) -> float:
    ours, reference = ours.double().cpu(), reference.double().cpu()
    return ((ours - reference).norm() / reference.norm()).item()


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 150), reverse=st.booleans(), seed=st.integers(0, 1000))
def test_twin_is_the_recurrence(length: int, reverse: bool, seed: int) -> None:
    """Catches wrong chunk edges, a decay one step off, tails that are not a whole chunk."""
    torch.manual_seed(seed)
    given_arguments = arguments(length)
    ours = selective_scan_reference(*given_arguments, reverse)
    expected = recurrence(*given_arguments, reverse)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@DIRECTIONS
def test_reversed_scan_is_the_scan_of_the_reversed_sequence(reverse: bool) -> None:
    """Catches an anti-causal form that is not the mirror image of the causal one."""
    x, dt, A, B, C, D = arguments(100)
    flipped = (x.flip(1), dt.flip(1), A, B.flip(1), C.flip(1), D)
    ours = selective_scan(x, dt, A, B, C, D, reverse).flip(1)
    torch.testing.assert_close(ours, selective_scan(*flipped, reverse=not reverse))


@DIRECTIONS
@pytest.mark.parametrize("length", [1, 16, 41])
def test_gradients_are_those_of_the_recurrence(length: int, reverse: bool) -> None:
    """Catches errors in the written-out gradient, and a twin that autograd can't follow."""
    leaves = arguments(length)
    for part in leaves:
        part.requires_grad_()
    expected_output = recurrence(*leaves, reverse)
    dy = torch.randn_like(expected_output)
    expected = torch.autograd.grad(expected_output, leaves, dy)
    twin = torch.autograd.grad(selective_scan_reference(*leaves, reverse), leaves, dy)
    with torch.no_grad():
        written = scan_gradients(chunk_scan, leaves, dy, reverse, chunk=16)
    for name, a, b, c in zip(NAMES, expected, twin, written, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9, msg=f"twin, {name}")
        torch.testing.assert_close(c, a, rtol=1e-9, atol=1e-9, msg=f"written, {name}")


@pytest.mark.parametrize("decay", [0.05, 1.0, 16.0])
def test_written_gradient_survives_bfloat16(decay: float) -> None:
    """Catches decay gradients that are differences of large, separately rounded numbers."""

    def rounded_scan(
        x: Tensor, weight: Tensor, g: Tensor, b: Tensor, c: Tensor, reverse: bool, chunk: int
    ) -> tuple[Tensor, Tensor]:
        y, states = chunk_scan(x.float(), weight, g, b.float(), c.float(), reverse, chunk)
        return y.to(x.dtype), states.to(x.dtype)

    x, dt, A, B, C, D = arguments(700, width=16, state=32, batch=1)
    dt, A = dt.clamp(max=0.1), torch.linspace(decay / 2, decay, 2).neg().double()
    x, B, C = x.bfloat16(), B.bfloat16(), C.bfloat16()
    dy = torch.randn(x.shape).bfloat16()
    given_arguments = (x, dt.float(), A.float(), B, C, D.float())
    ours = scan_gradients(rounded_scan, given_arguments, dy, False, chunk=256)
    exact = [part.double().requires_grad_() for part in given_arguments]
    twin = selective_scan_reference(*exact, reverse=False)
    expected = torch.autograd.grad(twin, exact, dy.double())
    for name, a, b in zip(NAMES, ours, expected, strict=True):
        assert error(a, b) < (4e-2 if name == "A" else 1e-2), name


@DIRECTIONS
def test_strong_decay_does_not_overflow(reverse: bool) -> None:
    """Catches exponentials of the masked half, which give inf or NaN, also in the gradient."""
    x, dt, A, B, C, D = (part.float().requires_grad_() for part in arguments(200))
    y = selective_scan(x, dt * 1000, A, B, C, D, reverse)
    gradients = torch.autograd.grad(y.sum(), (x, dt, A, B, C, D))
    assert all(part.isfinite().all() for part in (y, *gradients))


def test_result_has_the_type_of_the_values() -> None:
    """Catches float32 leaking into a bfloat16 trunk, and sums made in bfloat16."""
    x, dt, A, B, C, D = (part.float() for part in arguments(100))
    exact = selective_scan(x.bfloat16().float(), dt, A, B, C, D)
    rounded = selective_scan(x.bfloat16(), dt, A, B, C, D)
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.bfloat16())


def test_backend_is_chosen_by_the_device() -> None:
    """Catches the kernels being asked for tensors that they can't read."""
    assert choose_backend("auto", torch.device("cpu")) == "torch"
    assert choose_backend("torch", torch.device("cuda")) == "torch"
    with pytest.raises(AssertionError, match="cpu"):
        choose_backend("cuda", torch.device("cpu"))


def wide_arguments(length: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Arguments of the decoder's own sizes on the GPU, x, B and C slices of one tensor."""
    mixed = torch.randn(2, length, 4 * 64 + 512, device="cuda")
    x, B, C = mixed.split([256, 256, 256], dim=-1)
    dt = torch.rand(2, length, 4, device="cuda") * 0.1
    A, D = -torch.rand(4, device="cuda") * 15 - 1, torch.randn(4, device="cuda")
    return x.unflatten(-1, (4, 64)), dt, A, B, C, D


@pytest.mark.gpu
@DIRECTIONS
@pytest.mark.parametrize("length", [7, 256, 1000, 3001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_agree_with_the_twin(length: int, reverse: bool, dtype: torch.dtype) -> None:
    """Catches wrong kernels, forward and backward, and decays rounded to bfloat16."""
    x, dt, A, B, C, D = wide_arguments(length)
    rounded = tuple(part.to(dtype) for part in (x, B, C))
    leaves = [rounded[0], dt, A, rounded[1], rounded[2], D]
    leaves = [part.detach().requires_grad_() for part in leaves]
    exact = [part.detach().double().requires_grad_() for part in leaves]
    dy = torch.randn_like(leaves[0])
    ours = selective_scan(*leaves, reverse=reverse, backend="cuda")
    twin = selective_scan(*exact, reverse=reverse, backend="torch")
    # Float32 sums of up to 3001 steps in another order; bfloat16 has 8 bits.
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    assert error(ours, twin) < tolerance
    gradients = torch.autograd.grad(ours, leaves, dy)
    expected = torch.autograd.grad(twin, exact, dy.double())
    for name, a, b in zip(NAMES, gradients, expected, strict=True):
        # The gradient of A is a difference of sums over all tokens.
        wider = 4 if name == "A" else 1
        assert error(a, b) < wider * tolerance, name
