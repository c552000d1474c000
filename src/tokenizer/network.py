"""The network of the causal video autoencoder: convolutions over space or over time, one attention.

Its parameters have the names and shapes of diffusers' `AutoencoderKLCosmos`, its function is the
same. Inside, the channels of a video come last, `[clip, frame, h, w, channel]`: a convolution acts
on the pixels of each frame or on the frames of each pixel, so it is a 2D one.

Nothing but the middle blocks looks further into the past than a convolution over three frames, so
a long clip may pass in pieces of a few frames, which take a fraction of the memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..runtime import InputError
from .wavelets import analyse, synthesise

# Axes of [clip, frame, height, width, channel].
TIME, HEIGHT, WIDTH = 1, 2, 3
# Frames of a latent frame; the first one has one.
FRAMES = 8
# PyTorch's attention on CUDA takes no more sequences in one call: the limit of a launch grid.
MAX_SEQUENCES = 65535
Clips: TypeAlias = Float[Tensor, "clip frame h w c"]
# Clips with other numbers of frames, pixels or channels than the ones that were given.
Changed: TypeAlias = Float[Tensor, "clip _ _ _ _"]
Triple: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of the network, by diffusers' names; the defaults are those of the published one.

    Raises `InputError` for what this network does not have: attention outside of its middle, which
    `attention_resolutions` would ask for, and patches other than Haar wavelets.
    """

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 16
    encoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    decode_block_out_channels: tuple[int, ...] = (256, 512, 512, 512)
    attention_resolutions: tuple[int, ...] = (32,)
    resolution: int = 1024
    num_layers: int = 2
    patch_size: int = 4
    patch_type: str = "haar"
    scaling_factor: float = 1.0
    spatial_compression_ratio: int = 8
    temporal_compression_ratio: int = 8

    def __post_init__(self) -> None:
        if self.patch_type != "haar":
            raise InputError("patch_type", repr(self.patch_type), "'haar'")
        powers = {1 << n for n in range(1, 8)}
        ratios = (self.spatial_compression_ratio, self.temporal_compression_ratio)
        if (
            self.patch_size not in powers
            or not {*ratios} <= powers
            or min(ratios) < self.patch_size
        ):
            value = f"patch_size {self.patch_size}, compression {ratios}"
            raise InputError("video autoencoder", value, "powers of two, none below the patch")
        stages = max(len(self.encoder_block_out_channels), len(self.decode_block_out_channels)) - 1
        sides = {self.resolution // self.patch_size // 2**n for n in range(stages)}
        if sides & {*self.attention_resolutions}:
            value = f"{self.attention_resolutions} of {self.resolution}"
            raise InputError("attention_resolutions", value, "no attention outside of the middle")

    @property
    def halvings(self) -> tuple[int, int]:
        """How often the stages halve rows and columns, and frames."""
        patch = round(math.log2(self.patch_size))
        space, time = self.spatial_compression_ratio, self.temporal_compression_ratio
        return round(math.log2(space)) - patch, round(math.log2(time)) - patch


@dataclass
class Past:
    """The last inputs of each convolution over time, between the pieces of a clip."""

    frames: dict[int, Clips] = field(default_factory=dict)
    begun: bool = False


def _begins(past: Past | None) -> bool:
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


class Middle(nn.Module):
    """Residual blocks with attention over space and over time between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # In the order in which random weights are drawn.
        before, space = Residual(channels, channels), ClipAttention(channels, over_time=False)
        time, after = ClipAttention(channels, over_time=True), Residual(channels, channels)
        self.resnets = nn.ModuleList([before, after])
        self.attentions, self.temp_attentions = nn.ModuleList([space]), nn.ModuleList([time])

    def forward(self, x: Clips) -> Clips:
        """The middle of a whole clip."""
        x = self.resnets[0](x)
        parts = zip(self.attentions, self.temp_attentions, self.resnets[1:], strict=True)
        for over_space, over_time, resnet in parts:
            x = resnet(over_time(over_space(x)))
        return x


class Downsampling(nn.Module):
    """Half the rows and columns, and frames but the first: convolutions plus means."""

    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.space, self.time = space, time
        nothing = nn.Identity()
        self.conv1 = Convolution(channels, channels, (1, 3, 3), (1, 2, 2)) if space else nothing
        self.conv2 = Convolution(channels, channels, (3, 1, 1), (2, 1, 1)) if time else nothing
        self.conv3 = Convolution(channels, channels) if space or time else nothing

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The smaller clip, or its next piece."""
        if self.space:
            means = x.unflatten(WIDTH, (-1, 2)).unflatten(HEIGHT, (-1, 2)).mean(dim=(3, 5))
            x = self.conv1(F.pad(x, (0, 0, 0, 1, 0, 1))) + means
        if self.time:
            if _begins(past):
                x = torch.cat([x[:, :1], x], dim=TIME)
            x = self.conv2(x, past) + (x[:, ::2] + x[:, 1::2]) / 2
        return self.conv3(x)


class Upsampling(nn.Module):
    """Twice the rows and columns, and frames but the first: repeated, then convolved."""

    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.space, self.time = space, time
        nothing = nn.Identity()
        self.conv1 = Convolution(channels, channels, (3, 1, 1)) if time else nothing
        self.conv2 = Convolution(channels, channels, (1, 3, 3), pad=1) if space else nothing
        self.conv3 = Convolution(channels, channels) if space or time else nothing

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The larger clip, or its next piece."""
        if self.time:
            x = _repeated(x, TIME)[:, 1 if _begins(past) else 0 :]
            x = self.conv1(x, past) + x
        if self.space:
            x = _repeated(_repeated(x, HEIGHT), WIDTH)
            x = self.conv2(x) + x
        return self.conv3(x)


def _repeated(x: Clips, axis: int) -> Changed:
    return torch.stack([x, x], dim=axis + 1).flatten(axis, axis + 1)


class DownStage(nn.Module):
    """Residual blocks, then a smaller clip, except in the last stage."""

    def __init__(
        self, channels: int, out_channels: int, layers: int, smaller: tuple[bool, bool] | None
    ) -> None:
        """`smaller` says whether space and time are halved."""
        super().__init__()
        self.resnets = _residuals(channels, out_channels, layers)
        if smaller is not None:
            self.downsamplers = nn.ModuleList([Downsampling(out_channels, *smaller)])

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The stage of a clip, or of its next piece."""
        for part in (*self.resnets, *getattr(self, "downsamplers", ())):
            x = part(x, past)
        return x


class UpStage(nn.Module):
    """Residual blocks, then a larger clip, except in the last stage."""

    def __init__(
        self, channels: int, out_channels: int, layers: int, larger: tuple[bool, bool] | None
    ) -> None:
        """`larger` says whether space and time are doubled."""
        super().__init__()
        self.resnets = _residuals(channels, out_channels, layers)
        if larger is not None:
            self.upsamplers = nn.ModuleList([Upsampling(out_channels, *larger)])

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The stage of a clip, or of its next piece."""
        for part in (*self.resnets, *getattr(self, "upsamplers", ())):
            x = part(x, past)
        return x


def _residuals(channels: int, out_channels: int, layers: int) -> nn.ModuleList:
    widths = [channels] + [out_channels] * layers
    return nn.ModuleList(Residual(*pair) for pair in zip(widths[:-1], widths[1:], strict=True))


class Encoder(nn.Module):
    """Wavelets, stages that shrink, the middle."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.patch_size = architecture.patch_size
        widths = architecture.encoder_block_out_channels
        space, time = architecture.halvings
        bands = architecture.in_channels * self.patch_size**3
        self.conv_in = Projection(bands, widths[0])
        self.down_blocks = nn.ModuleList(
            DownStage(
                widths[n],
                widths[n + 1],
                architecture.num_layers,
                smaller=(n < space, n < time) if n < len(widths) - 2 else None,
            )
            for n in range(len(widths) - 1)
        )
        self.mid_block = Middle(widths[-1])
        self.norm_out = FrameNorm(widths[-1])
        self.conv_out = Projection(widths[-1], architecture.latent_channels)

    def forward(self, video: Float[Tensor, "clip 3 frame h w"], at_once: int = 0) -> Changed:
        """Latents before the last, pointwise layer; see `Autoencoder.encode`."""
        x = self.mid_block(torch.cat([*self._shrunk(video, at_once)], dim=TIME))
        return self.conv_out(F.silu(self.norm_out(x)))

    def _shrunk(
        self, video: Float[Tensor, "clip 3 frame h w"], at_once: int
    ) -> Iterator[Float[Tensor, "clip part lh lw c"]]:
        """Yield the results of the wavelets and the stages before the middle, piece by piece."""
        past, total, start = Past() if at_once else None, video.shape[2], 0
        while start < total:
            # The first latent frame has one frame only.
            end = FRAMES * at_once + (start or 1 - FRAMES) if at_once else total
            bands = analyse(video[:, :, start:end], self.patch_size, start == 0)
            # The networks' type; under autocast the convolutions choose another.
            x = self.conv_in(bands.to(self.conv_in.conv_s.weight.dtype), past)
            for stage in self.down_blocks:
                x = stage(x, past)
            if past is not None:
                past.begun = True
            yield x
            start = end


class Decoder(nn.Module):
    """The middle, stages that grow, wavelets."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.patch_size = architecture.patch_size
        widths = architecture.decode_block_out_channels[::-1]
        space, time = architecture.halvings
        self.conv_in = Projection(architecture.latent_channels, widths[0])
        self.mid_block = Middle(widths[0])
        stages = []
        for n, (channels, out_channels) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            # Time grows from the second stage on, and with it space.
            in_time = 0 < n < time + 1
            larger = in_time or (n < space and space > time), in_time
            last = n == len(widths) - 2
            layers = architecture.num_layers + 1
            stages.append(UpStage(channels, out_channels, layers, None if last else larger))
        self.up_blocks = nn.ModuleList(stages)
        self.norm_out = FrameNorm(widths[-1])
        self.conv_out = Projection(widths[-1], architecture.out_channels * self.patch_size**3)

    def forward(self, x: Clips, at_once: int = 0) -> Float[Tensor, "clip 3 _ _ _"]:
        """Videos of latents behind the first, pointwise layer; see `Autoencoder.decode`."""
        kind = x.dtype
        x = self.mid_block(self.conv_in(x))
        if not at_once:
            return self._grown(x, None)
        past = Past()
        parts = [self._grown(part, past).to(kind) for part in x.split(at_once, dim=TIME)]
        return torch.cat(parts, dim=2)

    def _grown(self, x: Clips, past: Past | None) -> Float[Tensor, "clip 3 _ _ _"]:
        """The stages behind the middle and the wavelets, of a clip or of its next piece."""
        for stage in self.up_blocks:
            x = stage(x, past)
        x = self.conv_out(F.silu(self.norm_out(x)), past)
        video = synthesise(x, self.patch_size, _begins(past))
        if past is not None:
            past.begun = True
        return video


class Autoencoder(nn.Module):
    """The encoder and the decoder, deterministic and causal in time."""

    def __init__(self, architecture: Architecture) -> None:
        """A network with random weights."""
        super().__init__()
        self.architecture = architecture
        channels = architecture.latent_channels
        self.encoder, self.decoder = Encoder(architecture), Decoder(architecture)
        self.quant_conv = Convolution(channels, channels)
        self.post_quant_conv = Convolution(channels, channels)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self.quant_conv.weight.dtype

    def encode(
        self, video: Float[Tensor, "clip 3 frame h w"], at_once: int = 0
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """Raw latents of videos in [-1, 1].

        Videos have 8k + 1 frames, and heights and widths that are multiples of 8. With `at_once`,
        the large stages work on that many latent frames at a time.
        """
        return self.quant_conv(self.encoder(video, at_once)).movedim(-1, 1)

    def decode(
        self, latent: Float[Tensor, "clip channel latent_frame lh lw"], at_once: int = 0
    ) -> Float[Tensor, "clip 3 frame h w"]:
        """Videos, about [-1, 1] and not clamped, of raw latents; float32 even under autocast.

        `at_once` is as in `encode`; videos then have the type of the latents.
        """
        return self.decoder(self.post_quant_conv(latent.movedim(1, -1)), at_once)
