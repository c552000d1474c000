"""The transformer against diffusers' own forward, and what a training or a sampling asks of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer

LEVELS = torch.tensor([0.4, -1.2])


def noisy() -> torch.Tensor:
    return torch.randn(2, 16, 3, 4, 6, generator=torch.Generator().manual_seed(5))


def test_forward_is_that_of_diffusers(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch channels, embeddings, blocks or patches in another order."""
    from diffusers import CosmosTransformer3DModel

    # Diffusers' own resizing of the padding needs torchvision, so it is a channel like the others.
    sizes = tiny_network.config.architecture
    sizes |= {"in_channels": sizes["in_channels"] + 1, "concat_padding_mask": False}
    peer = CosmosTransformer3DModel(**sizes).eval()
    peer.load_state_dict(tiny_network.state_dict())
    for block in peer.transformer_blocks:
        for attention in (block.attn1, block.attn2):
            attention.norm_q.eps = attention.norm_k.eps = 1e-6
    padding = torch.nn.functional.interpolate(conditions.padding, (4, 6), mode="nearest")
    channels = (
        noisy(),
        conditions.mask,
        conditions.warps,
        padding[:, :, None].expand(2, 1, 3, 4, 6),
    )
    with torch.no_grad():
        ours = tiny_network(noisy(), LEVELS, conditions)
        theirs = peer(torch.cat(channels, dim=1), LEVELS, conditions.text, fps=30).sample
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_prepared_conditions_change_nothing(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch a cached part that depends on the sample or on the noise level."""
    prepared = tiny_network.prepare(conditions)
    for x, levels in ((noisy(), LEVELS), (2 * noisy(), LEVELS.flip(0))):
        assert torch.equal(tiny_network(x, levels, prepared), tiny_network(x, levels, conditions))


def test_batch_items_do_not_mix(tiny_network: Gen3CTransformer, conditions: Conditions) -> None:
    """Would catch conditions of one clip used for another, or branches cut the wrong way."""
    both = tiny_network(noisy(), LEVELS, conditions)
    for item, part in enumerate(tiny_network.prepare(conditions).chunk(2)):
        alone = tiny_network(noisy()[item : item + 1], LEVELS[item : item + 1], part)
        torch.testing.assert_close(alone[0], both[item], rtol=1e-4, atol=1e-5)


def test_every_condition_matters(tiny_network: Gen3CTransformer, conditions: Conditions) -> None:
    """Would catch an input that is dropped on the way."""
    expected = tiny_network(noisy(), LEVELS, conditions)
    changed = {
        "text": conditions.text + 1,
        "mask": 1 - conditions.mask,
        "warps": conditions.warps.flip(1),
        "fps": 12.0,
        "padding": None,
    }
    for name, value in changed.items():
        other = tiny_network(noisy(), LEVELS, replace(conditions, **{name: value}))
        assert not torch.allclose(other, expected, atol=1e-4), name


def test_the_unconditional_branch(conditions: Conditions) -> None:
    """Would catch a branch that keeps the warps, or loses the given frames."""
    negative = torch.ones_like(conditions.text)
    branch = conditions.unconditional(negative)
    assert torch.equal(branch.text, negative) and not branch.warps.any()
    assert branch.mask is conditions.mask and branch.padding is conditions.padding
    stacked = conditions.stacked(branch)
    assert torch.equal(stacked.warps[:2], conditions.warps) and not stacked.warps[2:].any()
    assert torch.equal(stacked.text[2:], negative)
    with pytest.raises(AssertionError, match="12.0"):
        conditions.stacked(replace(branch, fps=12.0))
    with pytest.raises(AssertionError, match="padding"):
        conditions.stacked(replace(branch, padding=None))


@pytest.mark.parametrize("prepared", [False, True])
def test_gradients_reach_every_weight_and_survive_checkpointing(
    tiny_network: Gen3CTransformer, conditions: Conditions, prepared: bool
) -> None:
    """Would catch a forward that cannot be trained, or recomputation that changes gradients."""
    gradients = []
    for tiny_network.gradient_checkpointing in (False, True):
        given = tiny_network.prepare(conditions) if prepared else conditions
        tiny_network.zero_grad()
        tiny_network(noisy(), LEVELS, given).square().mean().backward()
        found = {name: part.grad for name, part in tiny_network.named_parameters()}
        assert all(gradient is not None and gradient.any() for gradient in found.values())
        gradients.append(found)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_norms_of_queries_and_keys_have_the_published_epsilon(
    tiny_network: Gen3CTransformer,
) -> None:
    """Would catch diffusers' 1e-5, which the parity data cannot tell from 1e-6."""
    norms = [module for module in tiny_network.modules() if isinstance(module, torch.nn.RMSNorm)]
    assert len(norms) == 8
    assert all(norm.eps == 1e-6 for norm in norms)


def test_latents_that_do_not_fit_are_refused(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch a grid beyond the position tables, which slicing would cut in silence."""
    with pytest.raises(AssertionError, match="latent of"):
        tiny_network.prepare(
            replace(conditions, warps=torch.zeros(2, 8, 5, 4, 6), mask=torch.zeros(2, 1, 5, 4, 6))
        )
    with pytest.raises(AssertionError, match="7"):
        tiny_network.prepare(replace(conditions, warps=torch.zeros(2, 7, 3, 4, 6)))


def test_half_precision_runs(tiny_network: Gen3CTransformer, conditions: Conditions) -> None:
    """Would catch a table or an input that is left in float32 and meets bfloat16 weights."""
    expected = tiny_network(noisy(), LEVELS, conditions)
    ours = tiny_network.to(torch.bfloat16)(noisy(), LEVELS, conditions)
    assert ours.dtype == torch.bfloat16
    error = torch.linalg.vector_norm(ours.float() - expected) / torch.linalg.vector_norm(expected)
    # A random network of two layers, whose every product is rounded to 8 bits.
    assert error < 0.05


@pytest.mark.gpu
def test_the_gpu_agrees(tiny_network: Gen3CTransformer, conditions: Conditions) -> None:
    """Would catch an attention backend or a kernel that computes something else."""
    with torch.no_grad():
        expected = tiny_network(noisy(), LEVELS, conditions)
        inputs = (noisy().cuda(), LEVELS.cuda(), moved(conditions, torch.device("cuda")))
        found = tiny_network.cuda()(*inputs).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def moved(conditions: Conditions, device: torch.device) -> Conditions:
    parts = (conditions.text, conditions.mask, conditions.warps, conditions.padding)
    text, mask, warps, padding = (None if part is None else part.to(device) for part in parts)
    assert text is not None and mask is not None and warps is not None
    return Conditions(text, mask, warps, conditions.fps, padding)


COMPILED = """
import sys
import torch
from cosmos_predict1.diffusion.model.network import Gen3CTransformer

config, weights, inputs, expected = torch.load(sys.argv[1], weights_only=False)
network = Gen3CTransformer(config).eval()
network.load_state_dict(weights)
network.to(inputs[0].device).compile_blocks()
with torch.no_grad():
    found = network(*inputs).cpu()
torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
"""


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)
def test_compiled_blocks_agree(
    tiny_network: Gen3CTransformer, conditions: Conditions, device: str, tmp_path: Path
) -> None:
    """Would catch a compiled program that computes something else, or cannot be made.

    In a process of its own: the type checker of the tests cannot be compiled.
    """
    with torch.no_grad():
        expected = tiny_network(noisy(), LEVELS, conditions)
    place = torch.device(device)
    inputs = (noisy().to(place), LEVELS.to(place), moved(conditions, place))
    path = tmp_path / "case.pt"
    torch.save((tiny_network.config, tiny_network.state_dict(), inputs, expected), path)
    command = [sys.executable, "-c", COMPILED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.gpu
def test_half_precision_attention_of_the_published_head() -> None:
    """Would catch cuDNN's attention (half precision only) that disagrees, or fails in training."""
    config = TransformerConfig(
        num_attention_heads=2, num_layers=1, adaln_lora_dim=8, text_embed_dim=16
    )
    torch.manual_seed(0)
    network = Gen3CTransformer(config)
    mask = torch.zeros(1, 1, 4, 16, 16)
    conditions = Conditions(torch.randn(1, 9, 16), mask, torch.randn(1, 64, 4, 16, 16))
    x, level = torch.randn(1, 16, 4, 16, 16), torch.zeros(1)
    with torch.no_grad():
        expected = network(x, level, conditions)
    network = network.to("cuda", torch.bfloat16)
    network.gradient_checkpointing = True
    moved = Conditions(conditions.text.cuda(), mask.cuda(), conditions.warps.cuda())
    ours = network(x.cuda(), level.cuda(), moved)
    ours.square().mean().backward()
    assert all(part.grad is not None for part in network.parameters())
    error = torch.linalg.vector_norm(ours.detach().float().cpu() - expected)
    assert error < 0.05 * torch.linalg.vector_norm(expected)
