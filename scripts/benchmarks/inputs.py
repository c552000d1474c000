"""Random weights and clips, full size and tiny, which several benchmarks measure on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip
from src.models.recon.decoder import DecoderConfig, LatentRecon, save_decoder
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import save_tokenizer

TRAJECTORIES = ("5", "0", "1", "2", "3", "4")
KEY = "scene"
TINY_TOKENIZER = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}
# Distance, colour, scale, rotation, opacity: depths about 1, Gaussians as wide as their cells.
HEAD_BIAS = (-4.5, 0, 0, 0, -2.4, -2.4, -2.4, 1, 0, 0, 0, 3)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Clips, and the networks that they are decoded with."""

    height: int = 704
    width: int = 1280
    frames: int = 121
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(prune_ratio=0.8))
    # Arguments of the autoencoder; empty for the published one.
    tokenizer: Mapping[str, object] = field(default_factory=dict)

    @property
    def gaussians(self) -> int:
        """Number of Gaussians of all trajectories before pruning."""
        return len(TRAJECTORIES) * self.frames * (self.height // 8) * (self.width // 8)


FULL = Size()
TINY = Size(
    height=32,
    width=48,
    frames=9,
    decoder=DecoderConfig(depth=3, width=32, heads=1, prune_ratio=0.8),
    tokenizer=TINY_TOKENIZER,
)


def write_tokenizer(folder: Path, architecture: Mapping[str, object], count: int) -> None:
    """Writes a tokenizer with random weights and statistics for `count` latent frames."""
    mean, std = torch.zeros(16, count), torch.ones(16, count)
    save_tokenizer(VideoTokenizer(architecture, mean, std), folder)


def write_decoder(folder: Path, config: DecoderConfig) -> None:
    """Writes a decoder with random weights, whose Gaussians stand before the cameras."""
    model = LatentRecon(config)
    assert model.deconv.bias is not None
    with torch.no_grad():
        model.deconv.bias.copy_(torch.tensor(HEAD_BIAS))
    save_decoder(model, folder)


def synthetic_clip(size: Size, position: int) -> Clip:
    """A clip of random latents, a moving pattern, and a camera that moves along one axis."""
    rows, columns = torch.arange(size.height), torch.arange(size.width)
    shifts = 3 * torch.arange(size.frames)
    red = ((columns + shifts[:, None]) // 4)[:, None, :].expand(-1, size.height, -1)
    green = (rows // 3)[None, :, None].expand_as(red)
    frames = torch.stack([red, green, red + green], dim=-1).to(torch.uint8)
    c2w = torch.eye(4).repeat(size.frames, 1, 1)
    sign = 1 if position < 3 else -1
    c2w[:, position % 3, 3] = sign * torch.linspace(0, 0.25, size.frames)
    focal = 0.8 * size.width
    intrinsics = torch.tensor([focal, focal, size.width / 2, size.height / 2])
    cameras = Cameras(c2w, intrinsics.repeat(size.frames, 1), size.width, size.height)
    cells = (latent_frames(size.frames), size.height // 8, size.width // 8)
    return Clip(cameras, 24, frames, 0.5 * torch.randn(16, *cells))
