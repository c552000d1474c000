"""The GEN3C transformer: diffusers' Cosmos blocks over a noisy latent, warps and a condition mask.

Latents are `[batch, channel, latent_frame, lh, lw]`. Input channels are, in this order, the sample,
the condition mask (1 where a latent frame is given), the warp latents and the padding mask (1
outside of the picture; not counted in `in_channels`). A token is 2x2 pixels of a latent frame.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from src.checkpoints import find_checkpoint
from src.io.damage import check_tensors
from src.runtime import without_memory

from ..conditioning.latents import Conditions, Prepared
from .architecture import PATCH, RopePrecision, TransformerConfig, read_config, write_config
from .block import TransformerBlock
from .kernels.attention import BACKENDS
from .kernels.rows import store_in_float8
from .kernels.twin import NORM_EPSILON
from .parallel import TokenShare
from .weights import read_state, write_state

Grid = tuple[int, int, int]
BASE_FPS = 24.0
BASE = 10000.0
EPSILON = 1e-6


def rotary_angles(
    config: TransformerConfig, grid: Grid, fps: float
) -> Float[Tensor, "token head_dim"]:
    """Returns the angles in rad; the second half of the channels repeats the first.

    Time, rows and columns share the head's channels; `rope_scale` stretches an axis by raising its
    base (NTK-aware scaling). Time counts latent frames, at 24 fps. Computed on the CPU, because
    powers round differently on each device.
    """
    dtype = torch.bfloat16 if config.rope_precision == "bf16" else torch.float32
    side = config.attention_head_dim // 6 * 2
    dims = (config.attention_head_dim - 2 * side, side, side)
    angles = []
    for axis, (size, dim, scale) in enumerate(zip(grid, dims, config.rope_scale, strict=True)):
        # The published tables are cast to bfloat16 with the model, and so are all results of them.
        exponent = (torch.arange(0, dim, 2, dtype=torch.float32) / dim).to(dtype)
        frequency = 1.0 / (BASE * scale ** (dim / (dim - 2))) ** exponent
        position = torch.arange(size, dtype=dtype)
        if axis == 0:
            position = position / fps * BASE_FPS
        shape = [1, 1, 1, dim // 2]
        shape[axis] = size
        angles.append(torch.outer(position, frequency).view(shape).expand(*grid, dim // 2))
    return torch.cat(angles * 2, dim=-1).flatten(0, 2).float()


def position_embedding(
    frames: Float[Tensor, "max_frames width"],
    rows: Float[Tensor, "max_rows width"],
    columns: Float[Tensor, "max_columns width"],
    grid: Grid,
) -> Float[Tensor, "1 token width"]:
    """Returns the sum of the three axes' embeddings, normalised to a root mean square of 1."""
    # Broadcast sums: at full size each axis repeated over the tokens would be 0.9 GB.
    tables = (frames, rows, columns)
    t, y, x = (table[:size].float() for table, size in zip(tables, grid, strict=True))
    total = t[:, None, None] + y[None, :, None] + x[None, None]
    scale = torch.linalg.vector_norm(total, dim=-1, keepdim=True) * total.shape[-1] ** -0.5
    return (total / (scale + EPSILON)).flatten(0, 2)[None]


# With gradients: the backward pass of this kernel takes every shape.
TRAINED_BACKENDS = [SDPBackend.FLASH_ATTENTION, *BACKENDS]
POSITIONS = "learnable_pos_embed"
SHARD_BYTES = 5 * 2**30


class Gen3CTransformer(nn.Module):
    """The network F of the denoiser; weights are named as in diffusers' class."""

    def __init__(self, config: TransformerConfig) -> None:
        """Build it with random weights (or none, on the meta device)."""
        from diffusers import CosmosTransformer3DModel

        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        # Set where processes share a forward pass; then the blocks share their tokens, too.
        self.token_share: TokenShare | None = None
        self._rotary: dict[tuple[Grid, float, torch.device], tuple[Tensor, Tensor]] = {}
        model = CosmosTransformer3DModel(**config.architecture)
        self.patch_embed = model.patch_embed
        self.learnable_pos_embed = cast(nn.Module, model.learnable_pos_embed)
        self.time_embed = model.time_embed
        self.transformer_blocks = nn.ModuleList(map(TransformerBlock, model.transformer_blocks))
        self.norm_out = model.norm_out
        self.proj_out = model.proj_out
        for block in self.transformer_blocks:
            for attention in (cast(Any, block).attn1, cast(Any, block).attn2):
                # Diffusers has an epsilon of 1e-5 and no fused kernel.
                attention.norm_q = nn.RMSNorm(config.attention_head_dim, NORM_EPSILON)
                attention.norm_k = nn.RMSNorm(config.attention_head_dim, NORM_EPSILON)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.proj_out.weight.dtype

    def prepare(self, conditions: Conditions) -> Prepared:
        """Prepare `conditions` for many calls of `forward`; differentiable."""
        batch, _, frames, height, width = conditions.warps.shape
        assert conditions.warps.shape[1] == self.config.warp_channels, conditions.warps.shape
        sizes = (frames, height, width)
        fits = all(size <= limit for size, limit in zip(sizes, self.config.max_size, strict=True))
        assert fits and height % PATCH == width % PATCH == 0, f"latent of {sizes}"
        grid = (frames, height // PATCH, width // PATCH)
        device = conditions.warps.device
        parameters = dict(self.learnable_pos_embed.named_parameters())
        # They are on the CPU while the weights are streamed.
        frame_table, row_table, column_table = (
            parameters[f"pos_emb_{axis}"].to(device) for axis in "thw"
        )
        padding = conditions.mask.new_zeros(batch, 1, frames, height, width)
        if conditions.padding is not None:
            resized = nn.functional.interpolate(conditions.padding, (height, width))
            padding = resized[:, :, None].expand_as(padding)
        channels = torch.cat([conditions.mask, conditions.warps, padding], dim=1)
        cos, sin = self._rotary_tables(grid, conditions.fps, device)
        position = position_embedding(frame_table, row_table, column_table, grid=grid)
        return Prepared(
            text=conditions.text.to(self.dtype),
            channels=channels.to(self.dtype),
            cos=cos,
            sin=sin,
            position=position.to(self.dtype),
        )

    def _rotary_tables(
        self, grid: Grid, fps: float, device: torch.device
    ) -> tuple[Float[Tensor, "token head_dim"], Float[Tensor, "token head_dim"]]:
        """Returns cosines and sines of the rotary angles; keeps the latest.

        They are made on the CPU; copying them in every step would make a training wait each time.
        """
        key = (grid, fps, device)
        if key not in self._rotary:
            # A backward pass cannot use inference tensors.
            with torch.inference_mode(False):
                angles = rotary_angles(self.config, grid, fps).to(device)
                self._rotary = {key: (angles.cos(), angles.sin())}
        return self._rotary[key]

    def forward(
        self,
        x: Float[Tensor, "batch channel latent_frame lh lw"],
        c_noise: Float[Tensor, " batch"],
        conditions: Conditions | Prepared,
    ) -> Float[Tensor, "batch out_channel latent_frame lh lw"]:
        """Returns F of noisy latents `x` of about unit variance, in the weights' type.

        `c_noise` is ln(sigma) / 4 of the noise level. `prepare` saves work in many calls with the
        same conditions.
        """
        prepared = self.prepare(conditions) if isinstance(conditions, Conditions) else conditions
        patches = self.patch_embed(torch.cat([x.to(self.dtype), prepared.channels], dim=1))
        grid = patches.shape[1:4]
        tokens = patches.flatten(1, 3)
        if self.token_share is not None:
            tokens, prepared = self.token_share.cut(tokens, prepared)
        time_lora, time = self.time_embed(tokens, c_noise)
        for block in self.transformer_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                inputs = (block, tokens, prepared, time, time_lora)
                tokens = cast(Tensor, checkpoint(_run_block, *inputs, use_reentrant=False))
            else:
                tokens = _run_block(block, tokens, prepared, time, time_lora)
        features = self.proj_out(self.norm_out(tokens, time, time_lora))
        if self.token_share is not None:
            features = self.token_share.join(features)
        # Channels are slowest in a patch that is read, and fastest in one that is written.
        return rearrange(
            features,
            "b (t h w) (ph pw c) -> b c t (h ph) (w pw)",
            **dict(zip("thw", grid, strict=True), ph=PATCH, pw=PATCH),
        )

    def compile_blocks(self) -> None:
        """Compile the blocks, which share one program; the first forward takes longer."""
        for block in self.transformer_blocks:
            block.compile(dynamic=False)

    def use_float8(self) -> None:
        """Stores and computes the blocks in 8 bits from now on, for inference.

        The blocks may be on any device; see `store_in_float8` and `require_float8`.
        """
        for block in self.transformer_blocks:
            store_in_float8(block)
            cast(TransformerBlock, block).attention = "float8"


def load_generator(
    folder: Path | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    rope_precision: RopePrecision | None = None,
) -> Gen3CTransformer:
    """Reads the generator's network in evaluation mode, its weights without gradients.

    Args:
        folder: of a published `model.pt`, of safetensors in diffusers' layout, or a checkpoint
            folder that holds one of them at its published place.
        device: of the weights.
        dtype: of the weights; the position embedding stays in float32.
        rope_precision: None for that of the folder's configuration.

    Raises:
        InputError: no weights, an unreadable file, or missing, unexpected and mis-shaped tensors.
    """
    network, state = _read_checked(find_checkpoint("generator", folder), rope_precision)
    # One at a time: memory never holds a second copy of all weights.
    for name in list(state):
        state[name] = state[name].to(device, torch.float32 if name.startswith(POSITIONS) else dtype)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def save_generator(
    network: Gen3CTransformer, folder: Path | str, max_shard_bytes: int = SHARD_BYTES
) -> None:
    """Write the weights and the configuration in diffusers' layout."""
    write_state(network.state_dict(), Path(folder), max_shard_bytes)
    write_config(network.config, Path(folder))


def convert_generator(
    source: Path | str,
    target: Path | str,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = SHARD_BYTES,
) -> TransformerConfig:
    """Write the generator of `source` to `target` in diffusers' layout; returns its configuration.

    One shard is in memory at a time. `dtype` None keeps the types of the source.
    """
    network, state = _read_checked(find_checkpoint("generator", source), None)
    write_state(state, Path(target), max_shard_bytes, dtype)
    write_config(network.config, Path(target))
    return network.config


def _read_checked(
    folder: Path, rope_precision: RopePrecision | None
) -> tuple[Gen3CTransformer, dict[str, Tensor]]:
    """Returns the network on the meta device, and its checked weights."""
    config = read_config(folder)
    if rope_precision is not None:
        config = replace(config, rope_precision=rope_precision)
    with without_memory():
        network = Gen3CTransformer(config)
    state = read_state(folder)
    check_tensors(folder, state, network.state_dict(), "the configured generator")
    return network, state


def _run_block(
    block: nn.Module,
    tokens: Float[Tensor, "batch token width"],
    prepared: Prepared,
    time: Float[Tensor, "batch width"],
    time_lora: Float[Tensor, "batch width3"],
) -> Float[Tensor, "batch token width"]:
    """Run one block; recomputation for gradients repeats its choice of attention, too."""
    rotary = (prepared.cos, prepared.sin)
    with _attention(tokens.device):
        return block(tokens, prepared.text, time, time_lora, rotary, prepared.position)


@contextmanager
def _attention(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    backends = TRAINED_BACKENDS if torch.is_grad_enabled() else BACKENDS
    with sdpa_kernel(backends, set_priority=True):
        yield
