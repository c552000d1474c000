"""Moves between CPU and GPU: nothing on a CPU; on a GPU the same results in less memory."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.chunks import chunk_tokens
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.offload import (
    BlockStream,
    DirectCopier,
    resident,
    stream_blocks,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


class LateCopier:
    """A device that copies only when somebody waits, and notes the order of both."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []
        self.copies: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []

    def start(self, targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> int:
        """Note the copy; the old numbers are destroyed."""
        for name in sources:
            targets[name].fill_(torch.nan)
        self.copies.append((targets, sources))
        self.notes.append(("start", len(self.copies) - 1))
        return len(self.copies) - 1

    def wait(self, ticket: int) -> None:
        """Copy what the ticket stands for."""
        self.notes.append(("wait", ticket))
        DirectCopier().start(*self.copies[ticket])


def linears(count: int) -> list[nn.Module]:
    return [nn.Linear(3, 3).requires_grad_(False) for _ in range(count)]


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
    assert not any(block._forward_pre_hooks for block in tiny_network.transformer_blocks)


def test_a_streamed_network_computes_the_same(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch a block that runs before its weights arrive, or with those of another one."""
    x, levels = torch.randn(2, 16, 3, 4, 6), torch.zeros(2)
    with torch.inference_mode():
        expected = tiny_network(x, levels, conditions)
    stream = BlockStream(list(tiny_network.transformer_blocks), CPU, copier=LateCopier())
    with torch.inference_mode():
        for _ in range(3):
            assert torch.equal(tiny_network(x, levels, conditions), expected)
    stream.close()
    with torch.no_grad():
        assert torch.equal(tiny_network(x, levels, conditions), expected)


def test_each_copy_starts_one_block_early() -> None:
    """Would catch a copy that starts when its block is called, which hides nothing."""
    blocks, copier = linears(3), LateCopier()
    BlockStream(blocks, CPU, copier=copier)
    x = torch.randn(2, 3)
    for _ in range(2):
        for block in blocks:
            x = block(x)
    starts = [at for at, (kind, _) in enumerate(copier.notes) if kind == "start"]
    # The first block waits at once; each other copy is waited for one block later.
    assert copier.notes[:2] == [("start", 0), ("wait", 0)]
    assert [copier.notes[at][1] for at in starts] == [*range(7)]
    waits = [ticket for kind, ticket in copier.notes if kind == "wait"]
    assert waits == [*range(6)] and copier.notes[-1] == ("start", 6)
    assert copier.notes.index(("start", 2)) < copier.notes.index(("wait", 2)) - 0
    # Two buffers: the third block's weights lie where the first one's were.
    addresses = [targets["weight"].data_ptr() for targets, _ in copier.copies]
    assert len(set(addresses)) == 2 and addresses[0] == addresses[2] != addresses[1]


@pytest.mark.parametrize("order", [(0, 0, 2, 1), (2, 0), (1, 3, 3, 0)])
def test_blocks_may_be_left_out_or_repeated(order: tuple[int, ...]) -> None:
    """Would catch a cache of steps, which leaves blocks out, that computes with wrong weights."""
    blocks = linears(4)
    x = torch.randn(2, 3)
    expected = x
    for at in order:
        expected = blocks[at](expected)
    own = [block.weight for block in blocks]
    stream = BlockStream(blocks, CPU, copier=LateCopier())
    for at in order:
        x = blocks[at](x)
    assert torch.equal(x, expected)
    stream.close()
    for block, weight in zip(blocks, own, strict=True):
        assert block.weight.data_ptr() == weight.data_ptr()


def test_weights_may_come_from_elsewhere() -> None:
    """Would catch weights read for blocks that do not run, or kept behind the last."""
    with torch.device("meta"):
        blocks = linears(3)
    read: list[int] = []

    def fetch(at: int) -> dict[str, Tensor]:
        read.append(at)
        return {"weight": torch.full((3, 3), float(at)), "bias": torch.zeros(3)}

    stream = BlockStream(blocks, CPU, copier=DirectCopier(), fetch=fetch, cyclic=False)
    x = torch.ones(1, 3)
    assert [blocks[at](x)[0, 0].item() for at in range(3)] == [0, 3, 6]
    assert read == [0, 1, 2]
    stream.close()
    assert all(block.weight.is_meta for block in blocks)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_chunks_of_tokens_are_equal_within_rounding(
    tiny_network: Gen3CTransformer, conditions: Conditions, size: int
) -> None:
    """Would catch rows of rotary tables that belong to other tokens, or a chunk left out."""
    x, levels = torch.randn(2, 16, 3, 4, 6), torch.zeros(2)
    with torch.inference_mode():
        expected = tiny_network(x, levels, conditions)
        chunk_tokens(tiny_network, size)
        found = tiny_network(x, levels, conditions)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_hidden_layer_never_exists_whole(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch an MLP that is called on all tokens after all."""
    seen: list[int] = []
    for block in tiny_network.transformer_blocks:
        first: nn.Module = block.ff.net[0]
        first.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[1]))
    chunk_tokens(tiny_network, 7)
    with torch.inference_mode():
        tiny_network(torch.randn(2, 16, 3, 4, 6), torch.zeros(2), conditions)
    assert max(seen) == 7


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
        torch.cuda.empty_cache()
        start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        stream_blocks(network, CUDA)
        prepared = network.prepare(conditions)
        # Without a pause, so that copies overlap with computing.
        found = [network(x, level, prepared) for x, level in inputs]
        for ours, other in zip(found, expected, strict=True):
            assert torch.equal(ours, other)
        assert torch.cuda.max_memory_allocated() - start < size / 3


@pytest.mark.gpu
def test_chunks_and_streaming_go_together_on_a_gpu() -> None:
    """Would catch chunks whose kernels take other layouts, or that read weights too early."""
    config = TransformerConfig(num_attention_heads=8, num_layers=4, text_embed_dim=64)
    torch.manual_seed(0)
    network = Gen3CTransformer(config).to(torch.bfloat16).eval().requires_grad_(False)
    mask, warps = torch.zeros(1, 1, 2, 32, 32), torch.randn(1, 64, 2, 32, 32)
    conditions = Conditions(torch.randn(1, 7, 64, device=CUDA), mask.to(CUDA), warps.to(CUDA))
    x, level = torch.randn(1, 16, 2, 32, 32, device=CUDA), torch.zeros(1, device=CUDA)
    with torch.inference_mode():
        expected = network.to(CUDA)(x, level, conditions)
        network.to(CPU)
        chunk_tokens(network, 96)
        stream_blocks(network, CUDA)
        for _ in range(3):
            found = network(x, level, conditions)
            # bfloat16 rounds to 0.4 %, and other kernels round elsewhere.
            assert (found - expected).norm() < 0.03 * expected.norm()
