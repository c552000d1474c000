"""LPIPS, version 0.1 with VGG16 features (Zhang et al. 2018, "The Unreasonable Effectiveness of
Deep Features as a Perceptual Metric").

The weights are two published files in one folder: torchvision's VGG16 (`vgg16-397923af.pth`) and
the metric's linear layers (`vgg.pth`).
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..checkpoints.opening import open_weights
from ..runtime import InputError

BACKBONE_FILE, LINEAR_FILE = "vgg16-397923af.pth", "vgg.pth"
# Output widths of the convolutions by torchvision's index; pooling comes before those in POOLED.
CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
CONVOLUTIONS |= {17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
POOLED = (5, 10, 17, 24)
TAPS = {2: 64, 7: 128, 14: 256, 21: 512, 28: 512}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """Perceptual distance of frames in [0, 1]; 0 for equal ones, about 1 for unrelated ones."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers = zip(CONVOLUTIONS, pairwise([3, *CONVOLUTIONS.values()]), strict=True)
        self.features = nn.ModuleDict(
            {
                str(index): nn.Conv2d(before, after, 3, padding=1)
                for index, (before, after) in layers
            }
        )
        self.linear = nn.ParameterList(torch.zeros(1, width, 1, 1) for width in TAPS.values())
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)

    def forward(
        self, first: Float[Tensor, "frame 3 h w"], second: Float[Tensor, "frame 3 h w"]
    ) -> Float[Tensor, " frame"]:
        """Distance of each pair of frames; differentiable in both."""
        total = first.new_zeros(first.shape[0])
        pairs = zip(self._taps(first), self._taps(second), self.linear, strict=True)
        for ours, theirs, weight in pairs:
            difference = (_unit_channels(ours) - _unit_channels(theirs)) ** 2
            total = total + (difference * weight).sum(dim=1).mean(dim=(1, 2))
        return total

    def _taps(self, frames: Float[Tensor, "frame 3 h w"]) -> list[Tensor]:
        value = (2 * frames - 1 - self.shift) / self.scale
        taps = []
        for index in CONVOLUTIONS:
            if index in POOLED:
                value = F.max_pool2d(value, 2)
            value = F.relu(self.features[str(index)](value))
            if index in TAPS:
                taps.append(value)
        return taps


def load_lpips(folder: Path, device: torch.device | str = "cpu") -> LPIPS:
    """The metric with its published weights, frozen; `InputError` for a bad file or tensor."""
    network = LPIPS()
    backbone, linear = _read(folder / BACKBONE_FILE), _read(folder / LINEAR_FILE)
    names = [f"features.{index}.{part}" for index in CONVOLUTIONS for part in ("weight", "bias")]
    state = {name: _tensor(folder / BACKBONE_FILE, backbone, name) for name in names}
    for index in range(len(TAPS)):
        name = f"lin{index}.model.1.weight"
        state[f"linear.{index}"] = _tensor(folder / LINEAR_FILE, linear, name)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(folder, error, "weights of VGG16 and of LPIPS 0.1") from error
    return network.requires_grad_(False).eval().to(device)


def _unit_channels(value: Float[Tensor, "frame c h w"]) -> Float[Tensor, "frame c h w"]:
    # The inner constant keeps the gradient of an all-zero feature finite.
    return value / (((value**2).sum(dim=1, keepdim=True) + 1e-20).sqrt() + 1e-10)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        expected = "LPIPS weights; `python scripts/download_checkpoints.py --what lpips` gets them"
        raise InputError(path, "no such file", expected)
    return open_weights(path).read()


def _tensor(path: Path, state: dict[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise InputError(path, f"no tensor {name}", "published weights")
    return state[name]
