"""MoGe's own classes at their smallest, in the published file's format, with a known answer.

The backbone is random. The last layers read the coordinates that the networks are given of every
pixel: the points are those of a pinhole camera, the right half of the picture is valid.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from src.depth.backends.moge import _model_class

# Tangent of half the angle across the diagonal, slope of the depth's logarithm, metres a unit.
TANGENT, SLOPE, SCALE = 0.8, 0.3, 3.0
# Of what the picture makes of the last layer, so that it matters a little.
SMALL = 1e-3
BACKBONE, LAYERS, TOKENS = "dinov2_vits14", 1, [24, 60]
V1: dict[str, Any] = {
    "encoder": BACKBONE,
    "intermediate_layers": LAYERS,
    "dim_proj": 32,
    "dim_upsample": [32, 32, 32],
    "remap_output": "exp",
    "num_tokens_range": TOKENS,
}


def _stack(inputs: list[int], outputs: list[int | None]) -> dict[str, Any]:
    blocks = {"dim_res_blocks": [32] * 5, "resamplers": ["bilinear"] * 4}
    return {"dim_in": inputs, "dim_out": outputs, **blocks}


V2: dict[str, Any] = {
    "encoder": {"backbone": BACKBONE, "intermediate_layers": LAYERS, "dim_out": 32},
    "neck": _stack([34, 2, 2, 2, 2], [None] * 5),
    "points_head": _stack([32] * 5, [None] * 4 + [3]),
    "mask_head": _stack([32] * 5, [None] * 4 + [1]),
    "scale_head": {"dims": [384, 16, 1]},
    "remap_output": "exp",
    "num_tokens_range": TOKENS,
}
# x and y over z, and the logarithm of z, by the two coordinates.
POINTS = torch.tensor([[TANGENT, 0], [0, TANGENT], [SLOPE, 0]])
VALID = torch.tensor([[10.0, 0]])


def write_moge(path: Path, version: str) -> dict[str, Any]:
    """A `model.pt` of that version, in half precision; returns what it holds."""
    torch.manual_seed(5)
    config = V1 if version == "v1" else V2
    network = _model_class(version)(**config)
    with torch.no_grad():
        (_answer_v1 if version == "v1" else _answer_v2)(network)
    state = {name: part.half() for name, part in network.state_dict().items()}
    stored = {"model_config": config, "model": state}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(stored, path)
    return stored


def expected_focal(height: int, width: int) -> tuple[float, float]:
    """fx and fy in pixels; pixels are square."""
    focal = math.hypot(height, width) / 2 / TANGENT
    return focal, focal


def expected_depth(height: int, width: int, metric: bool) -> torch.Tensor:
    """Depth of every pixel, valid or not."""
    edge = width / math.hypot(height, width) * (width - 1) / width
    row = torch.exp(SLOPE * torch.linspace(-edge, edge, width))
    return (row * (SCALE if metric else 1)).expand(height, width)


def _answer_v1(network: Any) -> None:
    # In the upper half a ReLU lets the coordinates through, of which all are above -1.
    for block, answer, offset in zip(
        network.head.output_block, (POINTS, VALID), (0, 0.5), strict=True
    ):
        first, last = block[0], block[-1]
        first.weight[:2].zero_()
        first.weight[0, -2, 1, 1] = first.weight[1, -1, 1, 1] = 1
        first.bias[:2] = 1
        last.weight *= SMALL
        last.weight[:, :2, 0, 0] = answer
        last.bias[:] = offset - answer.sum(dim=1)


def _answer_v2(network: Any) -> None:
    for stack in (network.neck, network.points_head, network.mask_head):
        stack.resamplers[3][-1].weight *= SMALL
        stack.resamplers[3][-1].bias.zero_()
        # What is left of a block is its short cut.
        nn.init.zeros_(stack.res_blocks[4][0].layers[-1].weight)
        nn.init.zeros_(stack.res_blocks[4][0].layers[-1].bias)
        nn.init.zeros_(stack.input_blocks[4].bias)
        nn.init.dirac_(stack.input_blocks[4].weight)
    for head, answer in ((network.points_head, POINTS), (network.mask_head, VALID)):
        last = head.output_blocks[4]
        last.weight[:, :2, 0, 0] = answer
        last.bias.zero_()
    nn.init.zeros_(network.scale_head[-1].weight)
    nn.init.constant_(network.scale_head[-1].bias, math.log(SCALE))
