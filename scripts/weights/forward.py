"""A tiny forward pass of each part, if the machine has the memory for its weights."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig, read_config
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, load_generator, rotary_angles
from cosmos_predict1.diffusion.model.text import PromptEncoder
from src.depth.backends.choice import resolve_depth
from src.evaluation.metrics import load_lpips, psnr
from src.models.recon.decoder import load_decoder
from src.tokenizer.loading import load_tokenizer

from .networks import Finding

Forward = Callable[[Path, torch.device], Iterator[Finding]]
GIB = 2**30
# Three layers of T5-11b, two at work and one that is read.
T5_BYTES = round(2.7 * GIB)


def forward_generator(folder: Path, device: torch.device) -> Iterator[Finding]:
    """Runs eight tokens, and compares the rotary tables as published with exact ones."""
    config = read_config(folder)
    with torch.device("meta"):
        count = sum(part.numel() for part in Gen3CTransformer(config).parameters())
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    yield _rotary(folder, config)
    if (lack := _lacking(folder, count * dtype.itemsize, device)) is not None:
        yield lack
        return
    network = load_generator(folder, device, dtype)
    shape = (1, config.out_channels, 2, 4, 4)
    conditions = Conditions(
        torch.zeros(1, 1, config.text_embed_dim, device=device),
        torch.zeros(1, 1, *shape[2:], device=device),
        torch.zeros(1, config.warp_channels, *shape[2:], device=device),
    )
    with torch.inference_mode():
        result = network(
            torch.ones(shape, device=device), torch.zeros(1, device=device), conditions
        )
    yield _finite(folder, result)


def forward_tokenizer(folder: Path, device: torch.device) -> Iterator[Finding]:
    """Encodes and decodes a smooth clip."""
    tokenizer = load_tokenizer(folder, device)
    rows = torch.linspace(-0.8, 0.8, 64, device=device)
    video = (rows[:, None] * rows[None, :]).expand(1, 3, 9, 64, 64)
    with torch.inference_mode():
        decoded = tokenizer.decode(tokenizer.encode(video))
    yield _finite(folder, decoded)
    after, before = ((clip[0].transpose(0, 1) + 1) / 2 for clip in (decoded.float(), video))
    ratio = float(psnr(after, before).mean())
    yield Finding("note", folder, f"a smooth clip of 9 frames comes back at {ratio:.1f} dB")


def forward_decoder(path: Path, device: torch.device) -> Iterator[Finding]:
    """Decodes empty latents of 9 frames of 32x32 pixels."""
    model = load_decoder(path, device=device)
    config = model.config
    latents = torch.zeros(1, 1, 2, config.latent_channels, 4, 4, device=device)
    times = (latents[:, 0], latents[:, 0, :1]) if config.use_time else None
    rays = torch.zeros(1, 1, 9, 3, 4, 4, device=device)
    directions = rays + torch.tensor([0.0, 0.0, 1.0], device=device)[:, None, None]
    with torch.inference_mode():
        plueckers = torch.cat([latents, latents], dim=3)
        decoded = model(latents, plueckers, rays, directions, times)
    yield _finite(path, decoded.gaussians.packed())


def forward_t5(folder: Path, device: torch.device) -> Iterator[Finding]:
    """Embeds a short prompt, layer by layer."""
    if (lack := _lacking(folder, T5_BYTES, torch.device("cpu"))) is not None:
        yield lack
        return
    root = folder.parents[1] if folder.parent.name == "google-t5" else folder.parent
    yield _finite(folder, PromptEncoder(root, device, offload=True)("a room"))


def forward_moge(path: Path, device: torch.device) -> Iterator[Finding]:
    """Estimates the depth of a grey picture, if MoGe is installed."""
    if find_spec("moge") is None:
        yield Finding("note", path, "no forward: the package moge is not installed")
        return
    backend = resolve_depth("moge", path.parents[1], device)
    with torch.inference_mode():
        estimate = backend(torch.full((3, 64, 64), 0.5))
    yield _finite(path, estimate.intrinsics)


def forward_depth(folder: Path, device: torch.device) -> Iterator[Finding]:
    """Estimates the depth of a grey picture."""
    estimate = resolve_depth("nano", folder.parent, device)(torch.full((3, 64, 64), 0.5))
    yield _finite(folder, estimate.depth)


def forward_lpips(folder: Path, device: torch.device) -> Iterator[Finding]:
    """Compares equal pictures, and different ones."""
    network = load_lpips(folder, device)
    grey = torch.full((1, 3, 64, 64), 0.5, device=device)
    with torch.inference_mode():
        equal, other = float(network(grey, grey)), float(network(grey, torch.full_like(grey, 0.9)))
    state = "ok" if equal == 0 < other else "wrong"
    yield Finding(state, folder, f"LPIPS {equal:.3f} of equal, {other:.3f} of other pictures")


FORWARDS: dict[str, Forward] = {
    "generator": forward_generator,
    "tokenizer": forward_tokenizer,
    "t5": forward_t5,
    "decoder_static": forward_decoder,
    "decoder_dynamic": forward_decoder,
    "depth": forward_depth,
    "moge": forward_moge,
    "lpips": forward_lpips,
}


def _rotary(folder: Path, config: TransformerConfig) -> Finding:
    """Notes the distance of rotary angles rounded to bfloat16, as published, from exact ones."""
    grid = (min(16, config.max_size[0]), config.max_size[1] // 4, config.max_size[2] // 4)
    tables = (
        rotary_angles(replace(config, rope_precision=precision), grid, 24.0)
        for precision in ("bf16", "exact")
    )
    rounded, exact = (torch.stack([angles.cos(), angles.sin()]) for angles in tables)
    most = float((rounded - exact).abs().max())
    text = f"rotary tables are used in {config.rope_precision}; bf16 and exact differ by {most:.2f}"
    return Finding("note", folder, text)


def _lacking(where: Path, needed: int, device: torch.device) -> Finding | None:
    """Returns why a part cannot run here, or None if it can."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed * 1.2 < free:
        return None
    text = f"the weights need {needed / GIB:.1f} GiB, {device} has {free / GIB:.1f} free"
    return Finding("note", where, f"no forward: {text}")


def _finite(where: Path, result: torch.Tensor) -> Finding:
    if not result.isfinite().all():
        return Finding("wrong", where, "a tiny forward gives numbers that are not finite")
    text = f"a tiny forward gives {list(result.shape)}, mean {float(result.float().mean()):.4f}"
    return Finding("ok", where, text)
