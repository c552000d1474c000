"""Fitting: few opaque Gaussians are changed until their renderings equal a scene's.

Adam changes means, in units of each Gaussian's own size, logarithms of scales, quaternions,
opacities within OPACITY_RANGE, and colours; the loss is the mean squared error of the pictures.
Gaussians that the fit has made too small to be more than specks are dropped on the way.
"""

import math
from concurrent.futures import Executor

import torch
from jaxtyping import Float
from torch import Tensor

from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...rendering.options import RasterizeOptions
from ...rendering.rasterize import rasterize
from ...runtime import core_pool, progress
from .merging import TINY

OPTIONS = RasterizeOptions(depth=False)
OPACITY_RANGE = (0.45, 0.98)
# Cameras of a step. It is no option: each renders on a core of its own.
BATCH = 2
# Learning rates in the order of the fields of Gaussians, and the share left at the end.
RATES = {"means": 0.06, "opacities": 0.1, "scales": 0.04, "quats": 0.02, "colors": 0.02}
RATE_END = 0.05
WARMUP = 10
MARGIN = 0.02
# Specks are dropped after this share of the steps: opaque Gaussians cannot fade away. They look
# smaller than so many of the smallest standard deviations, and than this share of the median.
DROP_AT, SPECK, SPECK_SHARE = 0.6, 2.8, 0.4


class FreeGaussians:
    """Gaussians as numbers without bounds, which an optimiser may change."""

    def __init__(self, start: Gaussians) -> None:
        """`start`: opacities outside of OPACITY_RANGE are moved into it."""
        low, high = OPACITY_RANGE
        self.origin = start.means
        self.unit = start.scales.median(dim=1, keepdim=True).values
        self.kept = torch.ones_like(start.opacities, dtype=torch.bool)
        opacity = ((start.opacities - low) / (high - low)).clamp(MARGIN, 1 - MARGIN)
        self.raw = Gaussians(
            means=torch.zeros_like(start.means),
            opacities=opacity.logit(),
            scales=start.scales.log(),
            quats=start.quats.clone(),
            colors=start.colors.clone(),
        )

    def gaussians(self, raw: Gaussians) -> Gaussians:
        """Returns the Gaussians that the free numbers `raw` stand for, without dropped ones."""
        low, high = OPACITY_RANGE
        gaussians = Gaussians(
            means=self.origin + self.unit * raw.means,
            opacities=low + (high - low) * raw.opacities.sigmoid(),
            scales=raw.scales.exp(),
            quats=torch.nn.functional.normalize(raw.quats, dim=1),
            colors=raw.colors,
        )
        return gaussians.map(lambda part: part[self.kept])

    @torch.no_grad()
    def drop_specks(self, finest: float) -> None:
        """Drop Gaussians that look small; `finest`: smallest scale at the distance 1."""
        distance = self.origin.norm(dim=1).clamp(min=TINY)
        size = self.raw.scales.topk(2, dim=1).values.mean(dim=1).exp() / distance
        self.kept = size >= (SPECK_SHARE * size.median()).clamp(max=SPECK * finest)

    @torch.no_grad()
    def keep_within(self, finest: float) -> None:
        """Move colours into [0, 1] and scales to `finest` times the distance, or more."""
        # Viewers and formats of 8 bits know no other colours.
        self.raw.colors.clamp_(0, 1)
        # EWA viewers widen Gaussians under a pixel to a pixel: opaque ones would become specks.
        floor = (finest * self.origin.norm(dim=1, keepdim=True)).clamp(min=TINY).log()
        self.raw.scales.copy_(torch.maximum(self.raw.scales, floor))


def fit(
    start: Gaussians,
    cameras: Cameras,
    pictures: Float[Tensor, "frame 3 height width"],
    steps: int,
    seed: int,
    finest: float = 0.0,
) -> Gaussians:
    """Returns Gaussians whose renderings at `cameras` are close to `pictures`.

    A step takes BATCH cameras; all are taken once before one is taken again, in an order that
    `seed` chooses. No scale falls under `finest` times the distance from the origin; specks little
    larger are dropped. On the CPU equal arguments give equal results.
    """
    free = FreeGaussians(start)
    leaves = vars(free.raw)
    optimizer = torch.optim.Adam(
        [{"params": [leaves[name]], "peak": rate} for name, rate in RATES.items()],
        betas=(0.9, 0.98),
        eps=1e-12,
    )
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with core_pool(start.device) as pool:
        for step in progress(range(steps), "solid"):
            while len(order) < BATCH:
                order += torch.randperm(len(cameras), generator=generator).tolist()
            chosen, order = order[:BATCH], order[BATCH:]
            gradients = _gradients(free, cameras, pictures, chosen=chosen, pool=pool)
            for name, leaf in leaves.items():
                leaf.grad = torch.stack([each[name] for each in gradients]).mean(dim=0)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(step, steps)
            optimizer.step()
            free.keep_within(finest)
            if step == int(DROP_AT * steps):
                free.drop_specks(finest)
    with torch.no_grad():
        fitted = free.gaussians(free.raw)
    return fitted.map(lambda part: part.detach())


def _rate(step: int, steps: int) -> float:
    """Returns the share of the learning rates: a short rise, then half a cosine."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    return min(1.0, (step + 1) / WARMUP) * (RATE_END + (1 - RATE_END) * cosine)


def _gradients(
    free: FreeGaussians,
    cameras: Cameras,
    pictures: Float[Tensor, "frame 3 height width"],
    chosen: list[int],
    pool: Executor,
) -> list[dict[str, Tensor]]:
    """Returns the gradients of the free numbers at each chosen camera."""

    def gradient(index: int) -> dict[str, Tensor]:
        """Renders one camera with its own leaves, so that threads share no gradient."""
        raw = free.raw.map(lambda part: part.detach().requires_grad_())
        with torch.enable_grad():
            frame = rasterize(free.gaussians(raw), cameras[index : index + 1], OPTIONS)
            loss = (frame.color[0] - pictures[index]).square().mean()
        leaves = vars(raw)
        found = torch.autograd.grad(loss, list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    return list(pool.map(gradient, chosen))
