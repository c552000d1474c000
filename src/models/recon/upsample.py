"""Tokens -> raw Gaussian channels, one cell per pixel frame and latent pixel.

A transposed convolution whose temporal kernel (stride + 1) overlaps in one frame and whose spatial
kernel (the patch) does not overlap. Written as one matrix product per token, whose columns are
(tap, row in the patch, column in the patch, channel), and an overlap-add along time: tap `k` of
latent frame `l` lands on frame `stride * l - stride / 2 + k`; what falls outside the clip is cut.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn


class TemporalUpsample(nn.ConvTranspose3d):
    """`t` latent frames of tokens -> `stride * (t - 1) + 1` frames, `patch` times finer cells.

    Parameters, their names and their initialisation are those of the transposed convolution.
    """

    def __init__(self, width: int, channels: int, patch: int, stride: int) -> None:
        assert stride % 2 == 0, f"an even temporal stride is expected, got {stride}"
        super().__init__(
            width,
            channels,
            kernel_size=(stride + 1, patch, patch),
            stride=(stride, patch, patch),
            padding=(stride // 2, 0, 0),
        )
        self.temporal = stride
        self.patch = patch

    def frames(self, latent_frames: int) -> int:
        """How many frames come out of so many latent frames."""
        return self.temporal * (latent_frames - 1) + 1

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, tokens: Float[Tensor, "clip latent_frame i j width"], channels: slice = slice(None)
    ) -> Float[Tensor, "clip frame row column channel"]:
        """The chosen raw channels of all cells, in the type of `tokens`."""
        p, k = self.patch, self.temporal
        taps = self._taps(tokens, channels)
        body, last = taps[..., :-1, :, :, :], taps[..., -1, :, :, :]
        timeline = rearrange(body, "n t i j k p q c -> n (t k) (i p) (j q) c", k=k, p=p, q=p)
        last = rearrange(last, "n t i j p q c -> n t (i p) (j q) c")
        timeline[:, k::k] += last[:, :-1]
        start = k // 2
        clip = timeline[:, start : start + self.frames(tokens.shape[1])]
        return clip + self._bias(channels).to(tokens.dtype)

    def at(
        self,
        tokens: Float[Tensor, "clip latent_frame i j width"],
        cells: Int[Tensor, " cell"],
        channels: slice = slice(None),
    ) -> Float[Tensor, "cell channel"]:
        """The chosen raw channels at some cells, flat indices over (clip, frame, row, column)."""
        p, k = self.patch, self.temporal
        clips, latent_frames, rows, columns, _ = tokens.shape
        taps = self._taps(tokens, channels)
        size = (clips, self.frames(latent_frames), rows * p, columns * p)
        clip, frame, row, column = _unravel(cells, size)
        frame = frame + k // 2
        latent_frame, tap = frame // k, frame % k
        token = ((clip * latent_frames + latent_frame) * rows + row // p) * columns + column // p
        inside = (row % p) * p + column % p
        flat = taps.reshape(-1, taps.shape[-1])
        raw = flat[(token * (k + 1) + tap) * p * p + inside] + self._bias(channels).to(flat.dtype)
        # Where the first tap lands, the last tap of the latent frame before it lands too.
        shared = (tap == 0).nonzero()[:, 0]
        before = token[shared] - rows * columns
        extra = flat[(before * (k + 1) + k) * p * p + inside[shared]]
        return raw.index_add(0, shared, extra)

    def _taps(
        self, tokens: Float[Tensor, "clip latent_frame i j width"], channels: slice
    ) -> Float[Tensor, "clip latent_frame i j tap p q channel"]:
        """What each token gives to the cells that it covers."""
        weight = self.weight[:, channels].permute(2, 3, 4, 1, 0)
        product = F.linear(tokens, weight.flatten(0, 3).to(tokens.dtype))
        return product.unflatten(-1, weight.shape[:4])

    def _bias(self, channels: slice) -> Float[Tensor, " channel"]:
        assert self.bias is not None
        return self.bias[channels]


def _unravel(
    index: Int[Tensor, " cell"], size: tuple[int, int, int, int]
) -> tuple[Int[Tensor, " cell"], ...]:
    """Coordinates of flat indices into a tensor of `size`."""
    return tuple(torch.unravel_index(index, size))
