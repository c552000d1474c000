"""A complete set of generator weights at the smallest size, random, and pictures to feed it."""

from pathlib import Path

import numpy as np
import torch
from tiny_scene import FRAMES, HEIGHT, WIDTH, tiny_tokenizer

from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, save_generator
from src.depth.backends.nano import NanoDepth, NanoDepthConfig, save_nano_depth
from src.tokenizer.loading import save_tokenizer

SAMPLING = SamplingDefaults(
    height=HEIGHT,
    width=WIDTH,
    num_frames=FRAMES,
    fps=24.0,
    num_steps=2,
    guidance=1.0,
    text_encoder="none",
)
NETWORK = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=12,
    num_layers=2,
    text_embed_dim=8,
    adaln_lora_dim=4,
    max_size=(4, 8, 12),
    rope_scale=(1.0, 1.0, 1.0),
    rope_precision="exact",
    sampling=SAMPLING,
)
DEPTH = NanoDepthConfig(widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1), heads=2, height=32, width=48)
MULTI = ("0", "1", "2", "3", "4", "5")


def write_tiny_weights(folder: Path) -> Path:
    """A checkpoint folder in the layout of the small weights: generator, tokenizer, depth."""
    torch.manual_seed(0)
    network = Gen3CTransformer(NETWORK)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_generator(network, folder / "generator")
    save_tokenizer(tiny_tokenizer(), folder / "tokenizer")
    depth = NanoDepth(DEPTH)
    # A fresh network says that all depth is 1 and is undecided whether to trust it.
    assert depth.head.bias is not None
    torch.nn.init.normal_(depth.head.weight, std=0.02)
    depth.head.bias.data[1] = 3
    save_nano_depth(depth, folder / "depth")
    return folder


def write_picture(path: Path, height: int = 40, width: int = 64, seed: int = 0) -> Path:
    """A picture of a few flat areas."""
    from PIL import Image

    blocks = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST).save(path)
    return path


def write_depth(path: Path, height: int = 40, width: int = 64) -> Path:
    """A depth file: a slope from 1.4 to 1.6, with the lens that took it."""
    depth = np.linspace(1.4, 1.6, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    lens = np.array([50, 50, width / 2, height / 2], dtype=np.float32)
    np.savez(path, depth=depth, intrinsics=lens)
    return path
