"""The head: tokens -> raw channels of each cell -> Gaussians on rays; the most opaque are kept.

A cell is a latent pixel of one frame.

Raw channels are `distance | rgb 3 | scale 3 | rotation 4 | opacity`; a Gaussian lies at
`origin + depth * direction` with a unit direction.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...gaussians import Gaussians

RAW_CHANNELS = 12
OPACITY = slice(11, 12)
NOT_OPACITY = slice(0, 11)
OPACITY_SHIFT = -2.0


class TemporalUpsample(nn.ConvTranspose3d):
    """Turns `t` latent frames into `stride * (t - 1) + 1` frames with `patch` times finer cells.

    It has the parameters and the initialisation of a transposed convolution, whose temporal kernel
    (stride + 1) overlaps in one frame and whose spatial kernel (the patch) does not. It is computed
    as one matrix product with columns (tap, row in the patch, column in the patch, channel) and an
    overlap-add along time: tap `k` of latent frame `l` belongs to frame
    `stride * l - stride / 2 + k`; frames outside the clip are cut.
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
        clip, frame, row, column = _places(cells, size)
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


def _places(cells: Int[Tensor, " cell"], size: Sequence[int]) -> list[Int[Tensor, " cell"]]:
    """Returns the indices along the dimensions of an array of this size, of flat indices into it.

    As `torch.unravel_index`, which imports torch's compiler: more than a second in a new process.
    """
    places = []
    for length in reversed(size):
        places.append(cells % length)
        cells = cells // length
    return places[::-1]


def activate(
    raw: Float[Tensor, "*cell 12"],
    origins: Float[Tensor, "*cell 3"],
    directions: Float[Tensor, "*cell 3"],
    *,
    near: float,
    far: float,
    distance_shift: float,
    scale_cap: float,
) -> Gaussians:
    """Returns the Gaussians of raw channels, computed in their type; lengths in world units.

    In bfloat16 the rounded sum with the distance shift gives depths in steps of about 3 %; float32
    channels avoid that.
    """
    distance, colors, scales, quats, opacities = raw.split([1, 3, 3, 4, 1], dim=-1)
    share = torch.sigmoid(distance + distance_shift)
    depth = near * (1 - share) + far * share
    # A raw value of 1 gives the cap.
    shift = 1 - math.log(scale_cap)
    return Gaussians(
        means=origins + directions * depth,
        opacities=torch.sigmoid(opacities[..., 0] + OPACITY_SHIFT),
        scales=torch.exp(scales - shift).clamp(max=scale_cap),
        quats=F.normalize(quats, dim=-1, eps=1e-12),
        colors=0.5 * torch.tanh(colors) + 0.5,
    )


def keep_count(total: int, ratio: float) -> int:
    """Returns how many of `total` Gaussians remain if the share `ratio` in [0, 1) is pruned.

    The float arithmetic is the published one: 10,222,080 at 0.8 give 2,044,415.
    """
    assert 0 <= ratio < 1, f"a prune ratio in [0, 1) is expected, got {ratio}"
    return int(total * (1 - ratio))


def keep_indices(
    scores: Float[Tensor, "batch gaussian"], ratio: float
) -> Int[Tensor, "batch kept"]:
    """Returns the ascending positions of the highest scores of each scene."""
    count = keep_count(scores.shape[-1], ratio)
    # Ascending, not by score: memory is read in order, and trajectories keep their order.
    return scores.detach().topk(count, dim=-1, sorted=False).indices.sort(dim=-1).values
