"""A forward pass of the generator's network beside that of diffusers, on the same weights."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions, Prepared
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.offload import stream_blocks

from .row import Row, peak_memory, reset_peak, seconds

FULL, FULL_LATENT, BUDGET = TransformerConfig(), (16, 88, 160), 4.3
NANO = TransformerConfig(
    num_attention_heads=3,
    attention_head_dim=64,
    num_layers=8,
    text_embed_dim=64,
    adaln_lora_dim=32,
    max_size=(8, 24, 40),
    rope_scale=(1.0, 1.0, 1.0),
)
NANO_LATENT = (3, 22, 40)
PEER = "diffusers' forward"


def random_network(
    config: TransformerConfig, device: torch.device, dtype: torch.dtype
) -> Gen3CTransformer:
    """A network with small random weights, made on `device` without a copy elsewhere."""
    with torch.device("meta"):
        network = Gen3CTransformer(config)
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network


def peer_seconds(
    network: Gen3CTransformer, x: Tensor, level: Tensor, prepared: Prepared, repeats: int = 3
) -> float:
    """Returns the time of a forward pass of diffusers' model with the same weights."""
    from diffusers import CosmosTransformer3DModel

    sizes = network.config.architecture
    # The padding mask is one more input channel.
    sizes |= {"in_channels": sizes["in_channels"] + 1, "concat_padding_mask": False}
    with torch.device("meta"):
        peer: Any = CosmosTransformer3DModel(**sizes).eval()
    peer.load_state_dict(network.state_dict(), assign=True)

    def forward() -> None:
        given = torch.cat([x.to(network.dtype), prepared.channels], dim=1)
        peer(given, level, prepared.text, fps=24, return_dict=False)

    return seconds(forward, repeats)


@torch.inference_mode()
def run(device: torch.device) -> Iterator[Row]:
    """Yields time and memory of a forward pass; on a GPU also compiled, batched and streamed."""
    on_gpu = device.type == "cuda"
    config, latent, tokens = (FULL, FULL_LATENT, 512) if on_gpu else (NANO, NANO_LATENT, 1)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    torch.manual_seed(0)
    network = random_network(config, device, dtype)
    x, level = torch.randn(1, 16, *latent, device=device), torch.zeros(1, device=device)
    warps = torch.randn(1, config.warp_channels, *latent, device=device)
    text = torch.randn(1, tokens, config.text_embed_dim, device=device)
    conditions = Conditions(text, torch.zeros_like(x[:, :1]), warps)
    once = seconds(lambda: network.prepare(conditions), repeats=3)
    prepared = network.prepare(conditions)
    theirs = (PEER, peer_seconds(network, x, level, prepared))
    forward = partial(network, x, level, prepared)
    ours = seconds(forward, repeats=3)
    size = "x".join(map(str, latent))
    yield Row(f"forward, latent {size}", ours, peer=theirs, budget=BUDGET if on_gpu else None)
    yield _peak("peak memory of a forward", device, forward)
    yield Row("the part that all steps of a clip share", once)
    if on_gpu:
        yield from _gpu_rows(network, x, level, prepared, theirs=theirs)


def _gpu_rows(
    network: Gen3CTransformer,
    x: Tensor,
    level: Tensor,
    prepared: Prepared,
    *,
    theirs: tuple[str, float],
) -> Iterator[Row]:
    """Measures a doubled batch, compiled and streamed blocks; the latter two cannot be undone."""
    device = x.device
    pair = replace(
        prepared,
        text=prepared.text.repeat(2, 1, 1),
        channels=prepared.channels.repeat(2, 1, 1, 1, 1),
    )
    both = seconds(lambda: network(x.repeat(2, 1, 1, 1, 1), level.repeat(2), pair), repeats=2)
    yield Row("forward of both branches in a batch", both, peer=(f"2 x {PEER}", 2 * theirs[1]))
    # A second network, because hooks and compiled blocks do not go together.
    streamed = random_network(network.config, device, network.dtype)
    network.compile_blocks()
    forward = partial(network, x, level, prepared)
    compiled = seconds(forward, repeats=3)
    yield Row("forward, blocks compiled", compiled, peer=theirs, budget=BUDGET)
    yield _peak("peak memory, blocks compiled", device, forward)
    network.to("cpu")
    streamed.to("cpu")
    stream_blocks(streamed, device)
    forward = partial(streamed, x, level, prepared)
    yield Row("forward, blocks streamed", seconds(forward, repeats=3, warm_up=2), peer=theirs)
    yield _peak("peak memory, blocks streamed", device, forward)


def _peak(name: str, device: torch.device, call: partial[Any]) -> Row:
    reset_peak(device)
    call()
    return peak_memory(name, device)
