"""The two files of LPIPS as they are published: torchvision's VGG16, and the linear layers.

The classifier of VGG16, which no reader uses, is left out but for one small tensor.
"""

from pathlib import Path

import torch
from published.random_tensors import RandomTensors

# Index in torchvision's `features`, channels in and out.
CONVOLUTIONS = (
    *((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256)),
    *((14, 256, 256), (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512)),
    *((26, 512, 512), (28, 512, 512)),
)
TAPS = (64, 128, 256, 512, 512)


def write_metric(folder: Path, numbers: RandomTensors) -> dict[str, Path]:
    """Write the files; returns them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = {"classifier.6.bias": torch.zeros(1000)}
    for index, inputs, outputs in CONVOLUTIONS:
        shape, deviation = (outputs, inputs, 3, 3), (2 / (9 * inputs)) ** 0.5
        backbone[f"features.{index}.weight"] = numbers.normal(shape, deviation)
        backbone[f"features.{index}.bias"] = torch.zeros(outputs)
    linear = {
        f"lin{index}.model.1.weight": numbers.normal((1, width, 1, 1), 1 / width).abs()
        for index, width in enumerate(TAPS)
    }
    names = ("vgg16-397923af.pth", "vgg.pth")
    for name, state in zip(names, (backbone, linear), strict=True):
        # The published file of VGG16 is of the time before zip archives.
        torch.save(state, folder / name, _use_new_zipfile_serialization=False)
    return {name: folder / name for name in names}
