"""Front-to-back alpha blending of depth-sorted lists in tiles, with a hand-written gradient.

A pair's response in its tile is `alpha = min(0.999, exp(log_opacity - power))` with, at the offset
`(u, v)` in pixels from the tile's centre,

    power = ((a u + b v + c)^2 + (d v + e)^2) / ((A u + B v + C)^2 + (D v + E)^2 + F^2).

Columns of `response`: `log_opacity, a, b, c, d, e` and, where the denominator is not 1,
`A, B, C, D, E, F`. With `T` the transmittance in front of a pair, its weight is `alpha T`; pairs
with alpha < 1/255 are skipped, and a pixel ends before the pair that brings T to 1e-4 or less.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .projection import ALPHA_MIN
from .tiles import TILE

ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
PIXELS = TILE * TILE
# Elements of one (tile, pair, pixel) block: small enough for a CPU's cache, large for a GPU.
BLOCK_CPU, BLOCK_CUDA = 2**17, 2**24
PAIRS_MIN, PAIRS_MAX = 32, 256


@dataclass(frozen=True)
class _Block:
    """A few tiles and the next pairs of each, as indices into the pair list."""

    tiles: Int[Tensor, " tile"]
    index: Int[Tensor, "tile pair"]
    valid: Bool[Tensor, "tile pair"]


@dataclass(frozen=True)
class _Weights:
    """Alphas of a block (0 where a pair is skipped) and the transmittance before each pair."""

    alpha: Float[Tensor, "tile pair pixel"]
    power: Float[Tensor, "tile pair pixel"]
    denominator: Float[Tensor, "tile pair pixel"] | None
    before: Float[Tensor, "tile pair pixel"]


def _blocks(
    start: Int[Tensor, " boundary"], transmittance: Float[Tensor, "tile pixel"]
) -> Iterator[_Block]:
    """All blocks, front to back, without tiles that are opaque or whose list has ended."""
    size = BLOCK_CUDA if start.is_cuda else BLOCK_CPU
    begin, end = start[:-1], start[1:]
    last = int(start[-1]) - 1
    alive = (end > begin).nonzero()[:, 0]
    while len(alive) > 0:
        # All tiles advance together: the fewer are left, the more pairs of each fit a block.
        pairs = min(max(size // (PIXELS * len(alive)), PAIRS_MIN), PAIRS_MAX)
        steps = torch.arange(pairs, device=start.device)
        for tiles in alive.split(max(size // (PIXELS * pairs), 1)):
            index = begin[tiles, None] + steps
            valid = index < end[tiles, None]
            yield _Block(tiles, index.clamp(max=last), valid)
        begin = begin + pairs
        alive = alive[(begin < end)[alive] & (transmittance[alive] > 0).any(dim=1)]


def _squares(
    forms: Float[Tensor, "tile pair 5"], axis: Float[Tensor, " side"]
) -> Float[Tensor, "tile pair v u"]:
    """`(a u + b v + c)^2 + (d v + e)^2` at all pixels of the tiles."""
    a, b, c, d, e = forms[..., None].unbind(-2)
    first = torch.add((a * axis)[..., None, :], (b * axis + c)[..., None])
    second = (d * axis + e).square_()[..., None]
    return torch.addcmul(second, first, first, out=first)


def _axis(like: Float[Tensor, "*shape"]) -> Float[Tensor, " side"]:
    """Offsets of the pixel centres from the tile's centre along one axis."""
    return torch.arange(TILE, device=like.device, dtype=like.dtype) - (TILE - 1) / 2


def _weigh(
    response: Float[Tensor, "tile pair column"],
    block: _Block,
    transmittance: Float[Tensor, "every_tile pixel"],
) -> _Weights:
    """Weights of a block; updates `transmittance`, which is 0 in finished pixels."""
    axis = _axis(response)
    log_opacity = response[..., :1].masked_fill(~block.valid[..., None], -torch.inf)
    power = _squares(response[..., 1:6], axis).flatten(2)
    denominator = None
    if response.shape[-1] > 6:
        denominator = _squares(response[..., 6:11], axis).flatten(2)
        denominator.add_(response[..., 11:].square())
        power.div_(denominator)
    alpha = torch.sub(log_opacity, power).exp_().clamp_(max=ALPHA_MAX)
    torch.threshold_(alpha, ALPHA_MIN, 0.0)
    # T before the block, then 1 - alpha of each pair: the products are T before each and after.
    products = alpha.new_empty(len(alpha), alpha.shape[1] + 1, PIXELS)
    products[:, 0] = transmittance[block.tiles]
    torch.sub(alpha.new_ones(()), alpha, out=products[:, 1:])
    torch.cumprod(products, dim=1, out=products)
    after = torch.threshold_(products[:, -1].clone(), TRANSMITTANCE_MIN, 0.0)
    if (after == 0).any():
        # 0 where the pixel has ended, otherwise more than any alpha: a mask without a branch.
        going_on = torch.threshold(products[:, 1:], TRANSMITTANCE_MIN, 0.0).mul_(1e8)
        alpha = torch.minimum(alpha, going_on, out=going_on)
    transmittance[block.tiles] = after
    return _Weights(alpha, power, denominator, before=products[:, :-1])


@dataclass(frozen=True)
class Canvas:
    """The sums that are blended in every pixel of every tile, and the transmittance left there."""

    total: Float[Tensor, "tile channel pixel"]
    transmittance: Float[Tensor, "tile pixel"]

    @staticmethod
    def empty(tiles: int, channels: int, like: Float[Tensor, "..."]) -> "Canvas":
        """Sums of 0 and a transmittance of 1."""
        return Canvas(like.new_zeros(tiles, channels, PIXELS), like.new_ones(tiles, PIXELS))

    def add(
        self,
        response: Float[Tensor, "pair column"],
        features: Float[Tensor, "pair channel"],
        start: Int[Tensor, " boundary"],
    ) -> None:
        """Blend `features` of the lists `start[t]:start[t + 1]` behind the present sums."""
        for block in _blocks(start, self.transmittance):
            weights = _weigh(response[block.index], block, self.transmittance)
            weight = weights.alpha * weights.before
            self.total[block.tiles] += features[block.index].mT @ weight

    @property
    def alive(self) -> Bool[Tensor, " tile"]:
        """Tiles in which a pixel has not ended."""
        return (self.transmittance > 0).any(dim=1)


class Blend(torch.autograd.Function):
    """Sums of `alpha T feature` in every pixel of every tile; the backward pass blends again."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        response: Float[Tensor, "pair column"],
        features: Float[Tensor, "pair channel"],
        start: Int[Tensor, " boundary"],
        total: Float[Tensor, "tile channel pixel"],
    ) -> Float[Tensor, "tile channel pixel"]:
        """The sums `total` of the lists `start[t]:start[t + 1]`, which a `Canvas` has blended."""
        total = total.clone()
        ctx.save_for_backward(response, features, start, total)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Float[Tensor, "tile channel pixel"]
    ) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of the responses and the features."""
        response, features, start, total = ctx.saved_tensors  # pyright: ignore
        transmittance = features.new_ones(len(start) - 1, PIXELS)
        # Contribution of the pairs behind the current one to the loss, in each pixel.
        behind = (total * grad).sum(dim=1)
        d_response, d_features = torch.zeros_like(response), torch.zeros_like(features)
        with torch.autocast(response.device.type, enabled=False):
            for block in _blocks(start, transmittance):
                forms = response[block.index]
                weights = _weigh(forms, block, transmittance)
                upstream = grad[block.tiles]
                weight = weights.alpha * weights.before
                index = block.index[block.valid]
                d_features[index] = (weight @ upstream.mT)[block.valid]
                d_log = _log_alpha_gradient(
                    weights=weights,
                    weight=weight,
                    value=features[block.index] @ upstream,
                    behind=behind,
                    block=block,
                )
                d_response[index] = _response_gradient(forms, weights, d_log)[block.valid]
        return d_response, d_features, None, None


def _log_alpha_gradient(
    weights: _Weights,
    weight: Float[Tensor, "tile pair pixel"],
    value: Float[Tensor, "tile pair pixel"],
    behind: Float[Tensor, "every_tile pixel"],
    block: _Block,
) -> Float[Tensor, "tile pair pixel"]:
    """Gradient of the loss by `log alpha`; updates `behind`. `value` is feature times upstream.

    `d loss / d alpha_k = T_k value_k - sum_{j > k} weight_j value_j / (1 - alpha_k)`.
    """
    rest = torch.mul(weight, value).cumsum(dim=1)
    rest = torch.sub(behind[block.tiles, None], rest, out=rest)
    behind[block.tiles] = rest[:, -1]
    d_alpha = value.mul_(weights.before).addcdiv_(rest, 1.0 - weights.alpha, value=-1)
    # No gradient passes the clamp at 0.999: keep alphas below it.
    open_alpha = torch.threshold_(-weights.alpha, -ALPHA_MAX, 0.0)
    return d_alpha.mul_(open_alpha).neg_()


def _response_gradient(
    response: Float[Tensor, "tile pair column"],
    weights: _Weights,
    d_log: Float[Tensor, "tile pair pixel"],
) -> Float[Tensor, "tile pair column"]:
    """Gradients of a block's response columns from that of `log alpha`."""
    axis = _axis(response)
    v, u = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    # The responses are quadratic in u and v, so these moments give their gradients.
    moments = torch.stack([torch.ones_like(u), u, v, u * u, u * v, v * v], dim=1)
    d_opacity = d_log.sum(dim=2, keepdim=True)
    if weights.denominator is None:
        return torch.cat([d_opacity, _squares_gradient(response[..., 1:6], -d_log @ moments)], -1)
    d_numerator = d_log.neg_().div_(weights.denominator)
    numerator = _squares_gradient(response[..., 1:6], d_numerator @ moments)
    sums = -(d_numerator.mul_(weights.power) @ moments)
    denominator = _squares_gradient(response[..., 6:11], sums)
    last = 2 * response[..., 11:] * sums[..., :1]
    return torch.cat([d_opacity, numerator, denominator, last], dim=-1)


def _squares_gradient(
    forms: Float[Tensor, "tile pair 5"], moments: Float[Tensor, "tile pair 6"]
) -> Float[Tensor, "tile pair 5"]:
    """Gradient of `_squares` by its forms, from the moments `1 u v uu uv vv` of the upstream."""
    a, b, c, d, e = forms.unbind(-1)
    one, u, v, uu, uv, vv = moments.unbind(-1)
    first = [a * uu + b * uv + c * u, a * uv + b * vv + c * v, a * u + b * v + c * one]
    second = [d * vv + e * v, d * v + e * one]
    return 2 * torch.stack([*first, *second], dim=-1)
