"""The block-wise blending and its hand-written gradient against a plain loop with autograd."""

import pytest
import torch
from torch import Tensor

from src.rendering import blending
from src.rendering.blending import PIXELS, Blend, Canvas
from src.rendering.tiles import TILE


def random_pairs(count: int, columns: int) -> tuple[Tensor, Tensor]:
    response = torch.randn(count, columns, dtype=torch.float64) * 0.15
    response[:, 0] = torch.rand(count, dtype=torch.float64).mul(1.1).add(0.01).log()
    response[:, [3, 5]] *= 4
    if columns > 6:
        response[:, 11] = 1
        response[:, 6:11] *= 0.1
    return response, torch.rand(count, 5, dtype=torch.float64)


def blend(response: Tensor, features: Tensor, start: Tensor) -> Tensor:
    canvas = Canvas.empty(len(start) - 1, features.shape[1], features)
    with torch.no_grad():
        canvas.add(response, features, start)
    return Blend.apply(response, features, start, canvas.total)


def alphas(response: Tensor) -> Tensor:
    """Alpha of every pair at every pixel, straight from the formula of the module."""
    offset = torch.arange(TILE, dtype=response.dtype) - (TILE - 1) / 2
    v, u = (part.flatten() for part in torch.meshgrid(offset, offset, indexing="ij"))
    log_opacity, *forms = response[..., None].unbind(1)
    a, b, c, d, e = forms[:5]
    power = (a * u + b * v + c) ** 2 + (d * v + e) ** 2
    if len(forms) > 5:
        a, b, c, d, e, f = forms[5:]
        power = power / ((a * u + b * v + c) ** 2 + (d * v + e) ** 2 + f**2)
    return (log_opacity - power).exp().clamp(max=0.999)


def blend_in_a_loop(response: Tensor, features: Tensor, start: Tensor) -> Tensor:
    alpha = alphas(response)
    tiles = []
    for first, last in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
        light = torch.ones(PIXELS, dtype=response.dtype)
        done = torch.zeros(PIXELS, dtype=torch.bool)
        total = torch.zeros(features.shape[1], PIXELS, dtype=response.dtype)
        for pair in range(first, last):
            seen = alpha[pair] >= 1 / 255
            after = light * (1 - alpha[pair])
            done = done | (seen & (after <= 1e-4))
            counts = seen & ~done
            total = total + features[pair, :, None] * torch.where(counts, alpha[pair] * light, 0)
            light = torch.where(counts, after, light)
        tiles.append(total)
    return torch.stack(tiles)


@pytest.mark.parametrize("block", [2**9, 2**14, 2**20])
@pytest.mark.parametrize("columns", [6, 12])
def test_blending_is_that_of_a_loop_forward_and_backward(
    columns: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch an error at a block boundary, a pixel that goes on after its end, and a wrong
    term of the gradient, the clamp at 0.999 (opacities reach 1.11) included."""
    monkeypatch.setattr(blending, "BLOCK_CPU", block)
    start = torch.tensor([0, 0, 5, 95, 95, 170])
    response, features = (part.requires_grad_() for part in random_pairs(170, columns))
    features.data[:, -1] = 1
    upstream = torch.randn(5, 5, PIXELS, dtype=torch.float64)
    ours = blend(response, features, start)
    expected = blend_in_a_loop(response, features, start)
    assert (alphas(response) >= 0.999).any()
    assert (expected[:, -1] > 0.999).any(), "some pixels should end before their list does"
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    ours_grad = torch.autograd.grad(ours, (response, features), upstream)
    expected_grad = torch.autograd.grad(expected, (response, features), upstream)
    for name, one, other in zip(("response", "features"), ours_grad, expected_grad, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9, msg=name)


def test_a_pixel_ends_for_good() -> None:
    """Would catch a pixel that resumes: the pair after the one that ends it is faint enough to be
    added by itself, but the light had gone."""
    response = torch.zeros(4, 6)
    response[:, 0] = torch.tensor([0.99, 0.98, 0.9, 0.1]).log()
    total = blend(response, torch.ones(4, 1), torch.tensor([0, 4]))
    torch.testing.assert_close(total, torch.full_like(total, 1 - 0.01 * 0.02))


def test_faint_pairs_are_skipped() -> None:
    """Would catch a missing or misplaced 1/255 cut."""
    response = torch.zeros(2, 6)
    response[:, 0] = torch.tensor([0.99 / 255, 1.01 / 255]).log()
    total = blend(response, torch.eye(2), torch.tensor([0, 2]))
    assert (total[0, 0] == 0).all() and (total[0, 1] > 0).all()
