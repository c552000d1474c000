"""Two processes that share a forward pass give what one process gives."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
import torch.distributed as dist
from processes import in_two_processes

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.block import TransformerBlock
from cosmos_predict1.diffusion.model.chunks import chunk_tokens
from cosmos_predict1.diffusion.model.denoiser import guided
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.parallel import (
    BranchShare,
    heads_to_tokens,
    share_tokens,
    tokens_to_heads,
)

from .test_block import diffusers_block, inputs

LEVELS = torch.tensor([0.4, -1.2])
Part = Callable[[Gen3CTransformer, Conditions], torch.Tensor]


def noisy() -> torch.Tensor:
    return torch.randn(2, 16, 3, 4, 6, generator=torch.Generator().manual_seed(5))


def by_two(
    folder: Path, part: Part, network: Gen3CTransformer, conditions: Conditions
) -> list[torch.Tensor]:
    """What each of two processes computes."""

    def work() -> torch.Tensor:
        with torch.inference_mode():
            return part(network, conditions).clone()

    return in_two_processes(folder, work)


def group() -> dist.ProcessGroup:
    assert dist.group.WORLD is not None
    return dist.group.WORLD


def exchanged(_network: Gen3CTransformer, _conditions: Conditions) -> torch.Tensor:
    x = torch.arange(2 * 6 * 4 * 3.0).view(2, 6, 4, 3)
    own = x[:, 3 * dist.get_rank() :][:, :3]
    heads = tokens_to_heads(own, group())
    assert torch.equal(heads, x[:, :, 2 * dist.get_rank() :][:, :, :2])
    assert torch.equal(heads_to_tokens(heads, group()), own)
    return x


def forward(
    network: Gen3CTransformer, conditions: Conditions, compiled: bool = False
) -> torch.Tensor:
    network.token_share = share_tokens(network.transformer_blocks, group())
    # The type checks of the tests cannot be compiled; this process ends with the test.
    jaxtyping.config.update("jaxtyping_disable", compiled)
    for block in network.transformer_blocks if compiled else ():
        block.compile(backend="eager", dynamic=False)
    return network(noisy(), LEVELS, conditions)


def guidance(
    network: Gen3CTransformer, conditions: Conditions, weight: float, shared: bool
) -> torch.Tensor:
    calls: list[None] = []
    network.register_forward_hook(lambda *_: calls.append(None))
    named = BranchShare(network, group()) if shared else network
    predict = guided(named, conditions, torch.ones_like(conditions.text), weight)
    outputs = [predict(scale * noisy(), LEVELS) for scale in (1.0, 2.0)]
    assert len(calls) == (2 if shared or weight == 0 else 4)
    return torch.stack(outputs)


def test_an_exchange_and_its_way_back(
    tmp_path: Path, tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Heads or tokens that arrive in another order than those of one process."""
    by_two(tmp_path, exchanged, tiny_network, conditions)


@pytest.mark.parametrize("kind", ["plain", "compiled", "fp8", "chunked"])
def test_tokens_shared_by_two_processes(
    tmp_path: Path, tiny_network: Gen3CTransformer, conditions: Conditions, kind: str
) -> None:
    """Positions or rotary tables of other tokens, attention to the own tokens alone."""
    if kind == "fp8":
        tiny_network.use_float8()
    if kind == "chunked":
        chunk_tokens(tiny_network, 5)
    with torch.inference_mode():
        wanted = tiny_network(noisy(), LEVELS, conditions)
    part = partial(forward, compiled=kind == "compiled")
    outputs = by_two(tmp_path, part, tiny_network, conditions)
    assert torch.equal(*outputs)
    error = torch.linalg.vector_norm(outputs[0] - wanted) / torch.linalg.vector_norm(wanted)
    assert error < 1e-5


@pytest.mark.parametrize(
    ("backend", "attention"),
    [
        ("torch", "exact"),
        pytest.param("cuda", "exact", marks=pytest.mark.gpu),
        pytest.param("cuda", "float8", marks=pytest.mark.gpu),
    ],
)
def test_a_block_that_shares_tokens_computes_the_same_steps(
    tmp_path: Path, backend: str, attention: str
) -> None:
    """Would catch norms, attention or 8-bit attention that a shared block computes otherwise."""
    device = "cuda" if backend == "cuda" else "cpu"
    torch.manual_seed(0)
    block: Any = TransformerBlock(diffusers_block(2, 128, torch.bfloat16)).to(device)
    block.backend, block.attention = backend, attention
    *given, tables, position = inputs(1, 4100 if device == "cuda" else 90, 2, 128, torch.bfloat16)
    cos, sin = (table.to(device) for table in tables)
    # The kernels may overwrite what they are given.
    at = position.to(device)

    def call() -> torch.Tensor:
        return block(*(part.to(device, copy=True) for part in given), (cos, sin), at)

    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"file://{tmp_path / 'store'}",
        rank=0,
        world_size=1,
    )
    try:
        with torch.inference_mode():
            alone = call()
            block.share_tokens(group())
            assert torch.equal(call(), alone)
    finally:
        dist.destroy_process_group()


def same_guidance(network: Gen3CTransformer, conditions: Conditions, weight: float) -> torch.Tensor:
    found = guidance(network, conditions, weight, shared=True)
    assert torch.equal(found, guidance(network, conditions, weight, shared=False))
    return found


@pytest.mark.parametrize("weight", [0.7, 0.0])
def test_branches_shared_by_two_processes(
    tmp_path: Path, tiny_network: Gen3CTransformer, conditions: Conditions, weight: float
) -> None:
    """Swapped branches, or the last sample's output for the next one."""
    part = partial(same_guidance, weight=weight)
    assert torch.equal(*by_two(tmp_path, part, tiny_network, conditions))
