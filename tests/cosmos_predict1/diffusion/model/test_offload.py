"""Moves between CPU and GPU: nothing on a CPU; on a GPU the same results in less memory."""

import pytest
import torch
from torch import nn

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.offload import resident, stream_blocks

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.mark.parametrize("offload", [False, True])
def test_on_a_cpu_nothing_moves(offload: bool) -> None:
    """Would catch a CPU run that asks for a GPU, or weights that are copied for nothing."""
    module = nn.Linear(2, 2)
    before = module.weight.data_ptr()
    with resident(module, CPU, offload) as inside:
        assert inside is module
    assert module.weight.data_ptr() == before


def test_streaming_on_a_cpu_changes_nothing(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch hooks that are put on without a GPU."""
    x, levels = torch.randn(2, 16, 3, 4, 6), torch.zeros(2)
    expected = tiny_network(x, levels, conditions)
    stream_blocks(tiny_network, CPU)
    assert torch.equal(tiny_network(x, levels, conditions), expected)
    assert not hasattr(tiny_network, "_diffusers_hook")


@pytest.mark.gpu
@pytest.mark.parametrize("offload", [False, True])
def test_parts_move_in_and_out(offload: bool) -> None:
    """Would catch a part that stays on the GPU, or leaves it although there is room."""
    module = nn.Linear(2, 2)
    with resident(module, CUDA, offload):
        assert module.weight.is_cuda
    assert module.weight.is_cuda != offload
    with pytest.raises(RuntimeError, match="inside"), resident(module, CUDA, offload):
        raise RuntimeError("inside")
    assert module.weight.is_cuda != offload


@pytest.mark.gpu
def test_streamed_blocks_compute_the_same_in_less_memory() -> None:
    """Would catch a block that runs before its weights arrive, or weights that stay."""
    config = TransformerConfig(num_attention_heads=8, num_layers=12, text_embed_dim=64)
    torch.manual_seed(0)
    network = Gen3CTransformer(config).to(torch.bfloat16).eval().requires_grad_(False)
    size = sum(parameter.nbytes for parameter in network.transformer_blocks.parameters())
    mask, warps = torch.zeros(1, 1, 2, 8, 8, device=CUDA), torch.randn(1, 64, 2, 8, 8, device=CUDA)
    conditions = Conditions(torch.randn(1, 7, 64, device=CUDA), mask, warps)
    inputs = [
        (torch.randn(1, 16, 2, 8, 8, device=CUDA), torch.full((1,), c, device=CUDA))
        for c in (0.1, 0.7, -1.0)
    ]
    with torch.inference_mode():
        prepared = network.to(CUDA).prepare(conditions)
        expected = [network(x, level, prepared) for x, level in inputs]
        network.to(CPU)
        stream_blocks(network, CUDA)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        prepared = network.prepare(conditions)
        # The first forward finds the order of the blocks, the others prefetch by it.
        for (x, level), other in zip(inputs, expected, strict=True):
            torch.testing.assert_close(network(x, level, prepared), other)
        assert torch.cuda.max_memory_allocated() - start < size / 3
