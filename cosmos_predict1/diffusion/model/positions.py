"""Positions of tokens: the rotary table and the learned position embedding of a latent grid.

A grid is (latent frames, rows, columns) of tokens; columns vary fastest.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import TransformerConfig

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
