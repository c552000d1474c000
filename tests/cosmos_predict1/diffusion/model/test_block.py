"""The block computes what diffusers' block computes, to the bit."""

import copy

import pytest
import torch
from torch import nn

from cosmos_predict1.diffusion.model.block import TransformerBlock


def diffusers_block(heads: int, channels: int, dtype: torch.dtype) -> nn.Module:
    from diffusers.models.transformers.transformer_cosmos import CosmosTransformerBlock

    block = CosmosTransformerBlock(heads, channels, 8, adaln_lora_dim=16)
    for attention in (block.attn1, block.attn2):
        attention.norm_q = nn.RMSNorm(channels, 1e-6)
        attention.norm_k = nn.RMSNorm(channels, 1e-6)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.1)
    return block.to(dtype)


def inputs(batch: int, tokens: int, heads: int, channels: int, dtype: torch.dtype) -> tuple:
    width, angles = heads * channels, torch.randn(tokens, channels // 2).repeat(1, 2)
    shapes = ((batch, tokens, width), (batch, 5, 8), (batch, width), (batch, 3 * width))
    given = [torch.randn(shape).to(dtype) for shape in shapes]
    return *given, (angles.cos(), angles.sin()), torch.randn(1, tokens, width).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch", "heads", "channels"), [(1, 3, 64), (2, 2, 18)])
def test_outputs_and_gradients_are_those_of_diffusers_to_the_bit(
    dtype: torch.dtype, batch: int, heads: int, channels: int
) -> None:
    """Would catch another order of operations, which would change every published clip."""
    theirs = diffusers_block(heads, channels, dtype)
    ours = TransformerBlock(copy.deepcopy(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    tokens, *others = inputs(batch, 150, heads, channels, dtype)
    found = []
    for block in (ours, theirs):
        leaf = tokens.clone().requires_grad_()
        output = block(leaf, *others)
        with torch.inference_mode():
            again = block(tokens, *others)
        gradients = torch.autograd.grad(output.sum(), [leaf, *block.parameters()])
        found.append([output, again, *gradients])
    assert all(map(torch.equal, *found))


def test_another_processor_of_attention_is_called() -> None:
    """Would catch attention of whole sources, where memory is short."""

    class Doubled:
        def __init__(self, own: object) -> None:
            self.own = own

        def __call__(self, *given: object, **named: object) -> torch.Tensor:
            return 2 * self.own(*given, **named)  # type: ignore[operator]

    theirs = diffusers_block(2, 18, torch.float32)
    ours = TransformerBlock(copy.deepcopy(theirs))
    for block in (ours, theirs):
        for attention in (block.attn1, block.attn2):
            attention.set_processor(Doubled(attention.processor))
    given = inputs(1, 20, 2, 18, torch.float32)
    with torch.no_grad():
        assert torch.equal(ours(*given), theirs(*given))


@pytest.mark.gpu
@pytest.mark.parametrize("chunked", [False, True])
def test_fused_steps_agree_with_their_twins(chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch a kernel in the wrong place, or parts of the MLP put together wrongly."""
    monkeypatch.setattr("cosmos_predict1.diffusion.model.block.CHUNK", 70 if chunked else 2**20)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        block = TransformerBlock(diffusers_block(3, 64, dtype)).cuda()
        *given, (cos, sin), position = inputs(2, 150, 3, 64, dtype)
        moved = [*(part.cuda() for part in given), (cos.cuda(), sin.cuda()), position.cuda()]
        found = []
        with torch.inference_mode():
            for block.backend in ("cuda", "torch"):
                found.append(block(*moved).float())
        error = torch.linalg.vector_norm(found[0] - found[1])
        assert error < tolerance * torch.linalg.vector_norm(found[1])
