"""The network of the causal video autoencoder.

Its parameters have the names and shapes of diffusers' `AutoencoderKLCosmos`, its function is the
same. Nothing but the middle blocks looks further into the past than a convolution over three
frames, so a long clip may pass in pieces of a few frames, which take a fraction of the memory.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .architecture import Architecture
from .layers import (
    HEIGHT,
    TIME,
    WIDTH,
    Changed,
    ClipAttention,
    Clips,
    Convolution,
    FrameNorm,
    Past,
    Projection,
    Residual,
    begins,
)
from .wavelets import analyse, synthesise

# Frames of a latent frame; the first one has one.
FRAMES = 8


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
            if begins(past):
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
            x = _repeated(x, TIME)[:, 1 if begins(past) else 0 :]
            x = self.conv1(x, past) + x
        if self.space:
            x = _repeated(_repeated(x, HEIGHT), WIDTH)
            x = self.conv2(x) + x
        return self.conv3(x)


def _repeated(x: Clips, axis: int) -> Changed:
    return torch.stack([x, x], dim=axis + 1).flatten(axis, axis + 1)


class ClipStage(nn.Module):
    """Residual blocks, then a smaller or larger clip, except in the last stage."""

    def __init__(self, channels: int, out_channels: int, layers: int) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * layers
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.resnets = nn.ModuleList(Residual(*pair) for pair in pairs)

    def forward(self, x: Clips, past: Past | None = None) -> Changed:
        """The stage of a clip, or of its next piece."""
        for parts in self.children():
            for part in parts.children():
                x = part(x, past)
        return x


class DownStage(ClipStage):
    """A stage of the encoder."""

    def __init__(
        self, channels: int, out_channels: int, layers: int, smaller: tuple[bool, bool] | None
    ) -> None:
        """`smaller` says whether space and time are halved."""
        super().__init__(channels, out_channels, layers)
        if smaller is not None:
            self.add_module("downsamplers", nn.ModuleList([Downsampling(out_channels, *smaller)]))


class UpStage(ClipStage):
    """A stage of the decoder."""

    def __init__(
        self, channels: int, out_channels: int, layers: int, larger: tuple[bool, bool] | None
    ) -> None:
        """`larger` says whether space and time are doubled."""
        super().__init__(channels, out_channels, layers)
        if larger is not None:
            self.add_module("upsamplers", nn.ModuleList([Upsampling(out_channels, *larger)]))


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
        video = synthesise(x, self.patch_size, begins(past))
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
