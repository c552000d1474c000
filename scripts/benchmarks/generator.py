"""A forward of the generator's network beside diffusers' own, on the same random weights."""

import resource
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.conditions import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, Prepared
from cosmos_predict1.diffusion.model.offload import stream_blocks

from .row import Row, seconds

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
    """A network with small random weights that are made on `device`, never anywhere else."""
    with torch.device("meta"):
        network = Gen3CTransformer(config)
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network


def diffusers_peer(network: Gen3CTransformer) -> Any:
    """Diffusers' model on the same weights; the padding is one more input channel."""
    from diffusers import CosmosTransformer3DModel

    sizes = network.config.architecture
    sizes |= {"in_channels": sizes["in_channels"] + 1, "concat_padding_mask": False}
    with torch.device("meta"):
        peer = CosmosTransformer3DModel(**sizes)
    peer.load_state_dict(network.state_dict(), assign=True)
    return peer.eval()


def random_inputs(
    network: Gen3CTransformer, latent: tuple[int, int, int], tokens: int, device: torch.device
) -> tuple[Tensor, Tensor, Conditions]:
    """A noisy latent, its level, and conditions."""
    x = torch.randn(1, 16, *latent, device=device)
    warps = torch.randn(1, network.config.warp_channels, *latent, device=device)
    text = torch.randn(1, tokens, network.config.text_embed_dim, device=device)
    return x, torch.zeros(1, device=device), Conditions(text, torch.zeros_like(x[:, :1]), warps)


def _plain(
    peer: Any, x: Tensor, level: Tensor, channels: Tensor, text: Tensor, dtype: torch.dtype
) -> Tensor:
    """One forward as diffusers' pipelines call it."""
    given = torch.cat([x.to(dtype), channels], dim=1)
    return peer(given, level, text, fps=24, return_dict=False)[0]


def run(device: torch.device) -> list[Row]:
    """Seconds and peak memory of a forward; on a GPU also compiled, in a batch, and streamed."""
    on_gpu = device.type == "cuda"
    config, latent, tokens = (FULL, FULL_LATENT, 512) if on_gpu else (NANO, NANO_LATENT, 1)
    budget = BUDGET if on_gpu else None
    dtype = torch.bfloat16 if on_gpu else torch.float32
    torch.manual_seed(0)
    network = random_network(config, device, dtype)
    x, level, conditions = random_inputs(network, latent, tokens, device)
    with torch.inference_mode():
        once = seconds(lambda: network.prepare(conditions), repeats=3)
        prepared = network.prepare(conditions)
        peer = diffusers_peer(network)
        plain = partial(_plain, peer, x, level, prepared.channels, prepared.text, dtype)
        theirs = seconds(plain, repeats=3)
        del peer, plain
        ours = seconds(lambda: network(x, level, prepared), repeats=3)
        memory = _peak_gigabytes(device, lambda: network(x, level, prepared))
        size = "x".join(map(str, latent))
        rows = [
            Row(f"forward, latent {size}", ours, "s", PEER, theirs, budget),
            Row("peak memory of a forward", memory, "GB"),
            Row("what is the same for all steps, once a clip", once),
        ]
        return rows + (_gpu_rows(network, (x, level, prepared), theirs) if on_gpu else [])


def _gpu_rows(
    network: Gen3CTransformer, inputs: tuple[Tensor, Tensor, Prepared], theirs: float
) -> list[Row]:
    """A doubled batch, streamed blocks, compiled blocks; in this order, since these stay on."""
    x, level, prepared = inputs
    device = x.device
    pair = Prepared(
        prepared.text.repeat(2, 1, 1),
        prepared.channels.repeat(2, 1, 1, 1, 1),
        prepared.cos,
        prepared.sin,
        prepared.position,
    )
    both = seconds(lambda: network(x.repeat(2, 1, 1, 1, 1), level.repeat(2), pair), repeats=2)
    rows = [Row("forward of both branches in a batch", both, "s", f"2 x {PEER}", 2 * theirs)]
    # A second network, because hooks and compiled blocks do not go together.
    streamed = random_network(network.config, device, network.dtype)
    network.compile_blocks()
    compiled = seconds(lambda: network(x, level, prepared), repeats=3)
    memory = _peak_gigabytes(device, lambda: network(x, level, prepared))
    rows.append(Row("forward, blocks compiled", compiled, "s", PEER, theirs, BUDGET))
    rows.append(Row("peak memory, blocks compiled", memory, "GB"))
    network.to("cpu")
    streamed.to("cpu")
    stream_blocks(streamed, device)
    torch.cuda.empty_cache()
    seconds_streamed = seconds(lambda: streamed(x, level, prepared), repeats=3, warm_up=2)
    memory = _peak_gigabytes(device, lambda: streamed(x, level, prepared))
    rows.append(Row("forward, blocks streamed", seconds_streamed, "s", PEER, theirs))
    rows.append(Row("peak memory, blocks streamed", memory, "GB"))
    return rows


def _peak_gigabytes(device: torch.device, call: Any) -> float:
    """Peak memory of the device during `call`, or of the process where the device is the CPU."""
    if device.type != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return torch.cuda.max_memory_allocated(device) / 1e9
