"""Linear layers in float8: errors, memory, moves, and the refusal of devices without float8."""

import pytest
import torch
from torch import nn

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.kernels.rows import (
    FLOAT8,
    Float8Linear,
    Float8Rows,
    require_float8,
    scaled_product,
    store_in_float8,
    to_rows,
)
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from src.runtime import InputError


def relative(ours: torch.Tensor, expected: torch.Tensor) -> float:
    difference = torch.linalg.vector_norm(ours.float() - expected.float())
    return float(difference / torch.linalg.vector_norm(expected.float()))


def test_rows_keep_what_three_bits_can() -> None:
    """Would catch a scale for all rows together, or one that overflows to not-a-number."""
    x = torch.randn(5, 7, 64) * torch.logspace(-6, 6, 7)[:, None]
    x[0, 0] = 0
    rows = to_rows(x)
    assert rows.values.dtype == FLOAT8 and rows.scale.shape == (5, 7, 1)
    wide = rows.wide(torch.float32)
    # Half of the last of 3 bits; numbers below the normal ones have a fixed step.
    assert ((wide - x).abs() <= x.abs() / 16 + rows.scale * 2**-10).all()
    assert torch.equal(rows[:, 2:4].wide(torch.float32), wide[:, 2:4])


def test_a_layer_in_float8_multiplies_and_moves() -> None:
    """Would catch weights that a cast of the network destroys, or a transposed scale."""
    layer = nn.Linear(64, 32, bias=False)
    ours, x = Float8Linear(layer), torch.randn(2, 5, 64)
    ours.to(torch.bfloat16)
    with torch.no_grad():
        assert relative(ours(x), layer(x)) < 0.04
        assert relative(ours(to_rows(x)), layer(x)) < 0.06
    assert ours.weight.nbytes == 64 * 32
    assert ours.to("meta").weight.is_meta


def test_a_network_in_float8_takes_half_the_memory(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch a layer that is left out, or put back in another place."""
    x, levels = torch.randn(2, 16, 3, 4, 6), torch.tensor([0.4, -1.2])
    with torch.no_grad():
        expected = tiny_network(x, levels, conditions)
        tiny_network.use_float8()
        once = tiny_network(x, levels, conditions)
        block = tiny_network.transformer_blocks[0]
        store_in_float8(block)
        assert torch.equal(tiny_network(x, levels, conditions), once)
    # Two random layers of std 0.3 amplify what 3 bits round away.
    assert relative(once, expected) < 0.2
    sizes = [part.weight.nbytes for part in block.modules() if isinstance(part, Float8Linear)]
    width = tiny_network.config.width
    assert sum(sizes) == 14 * width * width


def test_a_device_without_float8_is_refused() -> None:
    """Would catch a run that falls back in silence."""
    with pytest.raises(InputError, match="--precision.*fp8 on cpu.*8.9"):
        require_float8(torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("scaled", [True, False])
def test_products_of_rows(scaled: bool) -> None:
    """Would catch scales on the wrong side; both ways sum the same 8-bit numbers."""
    rows = to_rows(torch.randn(48, 64).cuda() * torch.logspace(-2, 2, 48).cuda()[:, None])
    weights = to_rows(torch.randn(32, 64).cuda())
    expected = rows.wide(torch.float32) @ weights.wide(torch.float32).mT
    ours = scaled_product(rows, weights, torch.bfloat16, scaled=scaled)
    assert relative(ours, expected) < 1e-2
    flat = Float8Rows(rows.values, rows.scale)
    layer = Float8Linear(nn.Linear(64, 32, bias=False).to(torch.bfloat16)).cuda()
    assert (
        relative(layer(flat), flat.wide(torch.float32) @ layer.rows.wide(torch.float32).mT) < 1e-2
    )
