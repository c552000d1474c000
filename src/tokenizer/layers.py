"""The layers of the video autoencoder: convolutions over space or over time, norms, attention.

The channels of a clip come last, `[clip, frame, h, w, channel]`: a convolution acts on the pixels
of each frame or on the frames of each pixel, so it is a 2D one.

A convolution over time looks two frames into the past. `Past` keeps these, so that a clip may pass
in pieces.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Axes of [clip, frame, height, width, channel].
TIME, HEIGHT, WIDTH = 1, 2, 3
# PyTorch's attention on CUDA takes no more sequences in one call: the limit of a launch grid.
MAX_SEQUENCES = 65535
Clips: TypeAlias = Float[Tensor, "clip frame h w c"]
# Clips with other numbers of frames, pixels or channels than the ones that were given.
Changed: TypeAlias = Float[Tensor, "clip _ _ _ _"]
Triple: TypeAlias = tuple[int, int, int]


@dataclass
class Past:
    """The last inputs of each convolution over time, between the pieces of a clip."""

    frames: dict[int, Clips] = field(default_factory=dict)
    begun: bool = False


def begins(past: Past | None) -> bool:
    """Whether this is the whole clip or its first piece."""
    return past is None or not past.begun


class Convolution(nn.Conv3d):
    """A causal convolution: over each frame's pixels, or over each pixel's frames.

    Before the first frame there are copies of it.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: Triple = (1, 1, 1),
        stride: Triple = (1, 1, 1),
        pad: int = 0,
    ) -> None:
        """`pad` zeros surround each frame."""
        super().__init__(channels, out_channels, kernel, stride)
        self.spatial_pad = pad
        # A stride over time begins with a copy less.
        self.temporal_pad = kernel[0] - stride[0]

    def forward(self, input: Clips, past: Past | None = None) -> Changed:
        """The convolution of a clip, or of its next piece."""
        steps, rows, columns = self.kernel_size
        if steps == rows == columns == 1:
            return F.linear(input, self.weight[:, :, 0, 0, 0], self.bias)
        if steps == 1:
            weight = self.weight[:, :, 0].contiguous(memory_format=torch.channels_last)
            frames = input.flatten(0, 1).permute(0, 3, 1, 2)
            out = F.conv2d(frames, weight, self.bias, self.stride[1:], self.spatial_pad)
            return out.permute(0, 2, 3, 1).unflatten(0, input.shape[:2])
        before = None if past is None else past.frames.get(id(self))
        if before is None:
            before = input[:, :1].expand(-1, self.temporal_pad, -1, -1, -1)
        x = torch.cat([before, input], dim=TIME)
        if past is not None:
            # A copy: a view would keep all frames of the piece.
            past.frames[id(self)] = x[:, -self.temporal_pad :].clone()
        weight = self.weight[..., 0].contiguous(memory_format=torch.channels_last)
        pixels = x.flatten(HEIGHT, WIDTH).permute(0, 3, 1, 2)
        out = F.conv2d(pixels, weight, self.bias, (self.stride[0], 1))
        return out.permute(0, 2, 3, 1).unflatten(HEIGHT, x.shape[HEIGHT:-1])


class Projection(nn.Module):
    """A convolution over space, then one over time."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_s = Convolution(channels, out_channels, (1, 3, 3), pad=1)
        self.conv_t = Convolution(out_channels, out_channels, (3, 1, 1))

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The projection of a clip, or of its next piece."""
        return self.conv_t(self.conv_s(x), past)


class FrameNorm(nn.Module):
    """Layer norm over all numbers of a frame, with a scale and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=1e-6)

    def forward(self, x: Clips) -> Clips:
        """The normalised frames."""
        frames = x.flatten(HEIGHT)
        frames = F.layer_norm(frames, frames.shape[2:], eps=self.norm.eps)
        return frames.view(x.shape) * self.norm.weight + self.norm.bias


class Residual(nn.Module):
    """Two projections beside a shortcut."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(channels)
        self.conv1 = Projection(channels, out_channels)
        self.norm2 = FrameNorm(out_channels)
        self.conv2 = Projection(out_channels, out_channels)
        same = channels == out_channels
        self.conv_shortcut = nn.Identity() if same else Convolution(channels, out_channels)

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The sum of both."""
        change = self.conv1(F.silu(self.norm1(x)), past)
        change = self.conv2(F.silu(self.norm2(change)), past)
        return change + self.conv_shortcut(x)


class ClipAttention(nn.Module):
    """Attention of one head over the pixels of each frame, or over the past of each pixel."""

    def __init__(self, channels: int, over_time: bool) -> None:
        super().__init__()
        self.over_time = over_time
        self.norm = FrameNorm(channels)
        self.to_q, self.to_k, self.to_v = (Convolution(channels, channels) for _ in range(3))
        # A list of one, as in the names of the weights.
        self.to_out = nn.ModuleList([Convolution(channels, channels)])

    def forward(self, x: Clips) -> Clips:
        """The clip plus what was attended to."""
        rows = self.norm(x)
        if self.over_time:
            rows = rows.permute(0, 2, 3, 1, 4)
        tokens = rows.flatten(0, 2) if self.over_time else rows.flatten(0, 1).flatten(1, 2)
        parts = (
            F.linear(tokens, layer.weight[:, :, 0, 0, 0], layer.bias)[:, None].split(MAX_SEQUENCES)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        mixed = torch.cat(
            [
                F.scaled_dot_product_attention(q, k, v, is_causal=self.over_time)[:, 0]
                for q, k, v in zip(*parts, strict=True)
            ]
        )
        found = self.to_out[0](mixed.view(rows.shape))
        return x + (found.permute(0, 3, 1, 2, 4) if self.over_time else found)
