"""The figures of the depth network on the first frames of worlds."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from src.geometry.cameras import Cameras

from ...depth.data import is_sky
from ...depth.losses import DepthSamples, depth_figures
from ...depth.task import draw_sample
from ..inputs import Group
from ..ledger import Ledger
from ..networks import Networks


def record_depth(
    networks: Networks, ledger: Ledger, group: Group
) -> UInt8[Tensor, "world 3 h w 3"]:
    """Keep how well depth and lens of first frames are known; draws picture, estimate and truth.

    The figures are those of `depth_figures`; the sky has no depth.
    """
    drawn = []
    for world, seed in enumerate(group.pool.seeds):
        sources = group.scenes[world].sources
        height, width = sources.depth.shape[1:]
        lens, pose = sources.intrinsics[:1], sources.w2c[:1]
        sky = is_sky(Cameras(pose, lens, width, height), sources.depth[:1])
        depth = sources.depth[:1].masked_fill(sky, 0)
        log_focal = (lens[:, 0] / (height**2 + width**2) ** 0.5).log()
        image = (sources.image[:1] + 1) / 2
        samples = DepthSamples(image, depth, log_focal, [str(seed)])
        prediction = networks.depth(image)
        for name, value in depth_figures(prediction, samples).items():
            ledger.add_values(f"depth.{name}", (seed,), torch.tensor([value]))
        drawn.append(draw_sample(prediction, samples, 0))
    return torch.stack(drawn)
