"""Tokens -> raw Gaussian channels, one cell for each frame and latent pixel.

It is a transposed convolution whose temporal kernel (stride + 1) overlaps in one frame and whose
spatial kernel (the patch) does not overlap, computed as one matrix product with columns (tap, row
in the patch, column in the patch, channel) and an overlap-add along time: tap `k` of latent frame
`l` belongs to frame `stride * l - stride / 2 + k`; frames outside the clip are cut.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn


class TemporalUpsample(nn.ConvTranspose3d):
    """Turns `t` latent frames into `stride * (t - 1) + 1` frames with `patch` times finer cells.

    It has the parameters and the initialisation of the transposed convolution.
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

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, tokens: Float[Tensor, "clip latent_frame i j width"], channels: slice = slice(None)
    ) -> Float[Tensor, "clip frame row column channel"]:
        """Returns the chosen raw channels of all cells, in the type of `tokens`."""
        p, k = self.patch, self.temporal
        taps = self._taps(tokens, channels)
        body, last = taps[..., :-1, :, :, :], taps[..., -1, :, :, :]
        timeline = rearrange(body, "n t i j k p q c -> n (t k) (i p) (j q) c", k=k, p=p, q=p)
        last = rearrange(last, "n t i j p q c -> n t (i p) (j q) c")
        timeline[:, k::k] += last[:, :-1]
        start, frames = k // 2, k * (tokens.shape[1] - 1) + 1
        clip = timeline[:, start : start + frames]
        return clip + self._bias(channels).to(tokens.dtype)

    def at(
        self,
        tokens: Float[Tensor, "clip latent_frame i j width"],
        cells: Int[Tensor, " cell"],
        channels: slice = slice(None),
    ) -> Float[Tensor, "cell channel"]:
        """Returns the chosen raw channels at flat indices over (clip, frame, row, column)."""
        p, k = self.patch, self.temporal
        clips, latent_frames, rows, columns, _ = tokens.shape
        taps = self._taps(tokens, channels)
        size = (clips, k * (latent_frames - 1) + 1, rows * p, columns * p)
        clip, frame, row, column = torch.unravel_index(cells, size)
        frame = frame + k // 2
        latent_frame, tap = frame // k, frame % k
        token = ((clip * latent_frames + latent_frame) * rows + row // p) * columns + column // p
        inside = (row % p) * p + column % p
        flat = taps.reshape(-1, taps.shape[-1])
        raw = flat[(token * (k + 1) + tap) * p * p + inside] + self._bias(channels).to(flat.dtype)
        # The frame of a first tap also gets the last tap of the latent frame before.
        shared = (tap == 0).nonzero()[:, 0]
        before = token[shared] - rows * columns
        extra = flat[(before * (k + 1) + k) * p * p + inside[shared]]
        return raw.index_add(0, shared, extra)

    def _taps(
        self, tokens: Float[Tensor, "clip latent_frame i j width"], channels: slice
    ) -> Float[Tensor, "clip latent_frame i j tap p q channel"]:
        """Returns the contribution of each token to the cells that it covers."""
        weight = self.weight[:, channels].permute(2, 3, 4, 1, 0)
        product = F.linear(tokens, weight.flatten(0, 3).to(tokens.dtype))
        return product.unflatten(-1, weight.shape[:4])

    def _bias(self, channels: slice) -> Float[Tensor, " channel"]:
        assert self.bias is not None
        return self.bias[channels]
