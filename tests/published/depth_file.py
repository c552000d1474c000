"""MoGe's `model.pt` as it is published, and a stand-in of its package where it is not installed.

The file is `{"model_config", "model"}`. With the package, its own class is built, small or at its
published size, with weights that see a wavy wall: random features move the depth of a point map
that is otherwise a plane at depth 1. Without it, `write_package` puts a package of the same name
and interface into a folder for PYTHONPATH, whose network does the same with one convolution; the
class itself is then not rehearsed.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from published.random_tensors import RandomTensors
from torch import Tensor

CONFIGS: dict[str, dict[str, Any]] = {
    # ViT-L of version 1.
    "full": {
        "encoder": "dinov2_vitl14",
        "remap_output": "exp",
        "intermediate_layers": 4,
        "dim_upsample": [256, 128, 64],
        "dim_times_res_block_hidden": 2,
        "num_res_blocks": 2,
        "last_conv_channels": 32,
        "last_conv_size": 1,
        "num_tokens_range": [1200, 2500],
    },
    "tiny": {
        "encoder": "dinov2_vits14",
        "remap_output": "exp",
        "intermediate_layers": 1,
        "dim_proj": 32,
        "dim_upsample": [32, 32, 32],
        "last_conv_channels": 32,
        "last_conv_size": 1,
        "num_tokens_range": [6, 12],
    },
}
PACKAGE = '''\
"""Stands for MoGe where it is not installed: the same file, class and results."""

from pathlib import Path

import torch


class MoGeModel(torch.nn.Module):
    """Depth of a wavy wall, from one convolution of the picture."""

    def __init__(self, **config):
        super().__init__()
        self.features = torch.nn.Conv2d(3, 1, 3, padding=1)

    @classmethod
    def from_pretrained(cls, path, **_):
        assert Path(path).is_file(), f"{path} is not there, and this stand-in has no hub"
        content = torch.load(path, map_location="cpu", weights_only=True)
        model = cls(**content["model_config"])
        model.load_state_dict(content["model"])
        return model

    @torch.inference_mode()
    def infer(self, image, use_fp16=True):
        height, width = image.shape[-2:]
        small = torch.nn.functional.interpolate(image[None], (9, 16), mode="area")
        depth = self.features(small).tanh().mul(0.1).exp()
        depth = torch.nn.functional.interpolate(depth, (height, width), mode="bilinear")[0, 0]
        mask = torch.ones_like(depth, dtype=torch.bool)
        lens = torch.tensor([[0.8, 0, 0.5], [0, 0.8 * width / height, 0.5], [0, 0, 1]])
        points = torch.zeros(height, width, 3, device=depth.device)
        intrinsics = lens.to(depth.device)
        return {"points": points, "depth": depth, "mask": mask, "intrinsics": intrinsics}
'''


def installed() -> bool:
    """Whether the package with the real class is there."""
    return find_spec("moge") is not None


def write_depth_model(path: Path, size: str, numbers: RandomTensors) -> None:
    """Write `model.pt` for the class that is installed, else for the stand-in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = CONFIGS[size]
    if installed():
        state = _real_state(config, numbers)
    else:
        weight = numbers.normal((1, 3, 3, 3), 0.3)
        state = {"features.weight": weight, "features.bias": torch.zeros(1)}
    torch.save({"model_config": config, "model": state}, path)


def write_package(folder: Path) -> Path:
    """Write the stand-in of the package; returns the folder for PYTHONPATH."""
    model = folder / "moge" / "model"
    model.mkdir(parents=True, exist_ok=True)
    for package in (model.parent, model):
        (package / "__init__.py").touch()
    (model / "v1.py").write_text(PACKAGE)
    return folder


def _real_state(config: dict[str, Any], numbers: RandomTensors) -> dict[str, Tensor]:
    from src.depth.backends.moge import _model_class

    # Its class puts its arguments to use in place.
    model = _model_class("v1")(**config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "pos_embed" not in name:
                fan = parameter[0].numel()
                parameter.copy_(numbers.normal(parameter.shape, 0.5 * fan**-0.5))
        _see_a_wall(model.head.output_block, numbers)
    return model.state_dict()


def _see_a_wall(blocks: Any, numbers: RandomTensors) -> None:
    """Set the last layers so that points are (u, v, 1), before the exponent of the depth.

    The position (u, v) comes to them as their last two channels; ReLU lies between the layers.
    """
    first, last = blocks[0][0], blocks[0][-1]
    first.weight.mul_(0.1)
    first.weight[:4], first.bias[:4] = 0, 0
    for channel in range(4):
        sign = 1 if channel % 2 == 0 else -1
        first.weight[channel, channel // 2 - 2, 1, 1] = sign
    last.weight.zero_()
    last.bias.zero_()
    for axis in range(2):
        last.weight[axis, 2 * axis], last.weight[axis, 2 * axis + 1] = 1, -1
    last.weight[2, 4:] = numbers.normal(last.weight[2, 4:].shape, 0.5)
    mask = blocks[1][-1]
    mask.weight.mul_(0.1)
    mask.bias.fill_(5)
