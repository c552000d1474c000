"""LPIPS against its formula with random weights, and its files."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.evaluation.metrics import BACKBONE_FILE, CONVOLUTIONS, LINEAR_FILE, TAPS, load_lpips
from src.runtime import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("lpips")
    widths = [3, *CONVOLUTIONS.values()]
    backbone = {"classifier.0.weight": torch.zeros(1)}
    for index, before, after in zip(CONVOLUTIONS, widths[:-1], widths[1:], strict=True):
        backbone[f"features.{index}.weight"] = torch.randn(after, before, 3, 3) / before**0.5 / 3
        backbone[f"features.{index}.bias"] = torch.randn(after) * 0.1
    torch.save(backbone, folder / BACKBONE_FILE)
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1)
        for i, width in enumerate(TAPS.values())
    }
    torch.save(linear, folder / LINEAR_FILE)
    return folder


def plain_lpips(folder: Path, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The metric as written in the paper, with a plain VGG16 stack, for inputs in [-1, 1]."""
    layers, before = [], 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        layers += (
            [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        )
        before = width or before
    vgg = nn.Sequential(*layers)
    state = torch.load(folder / BACKBONE_FILE)
    vgg.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")})
    linear = torch.load(folder / LINEAR_FILE)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    total = torch.zeros(first.shape[0])
    values = [(first - shift) / scale, (second - shift) / scale]
    tap = 0
    for index, layer in enumerate(vgg):
        values = [layer(value) for value in values]
        if index in (3, 8, 15, 22, 29):
            units = [F.normalize(value, dim=1) for value in values]
            weight = linear[f"lin{tap}.model.1.weight"]
            total += ((units[0] - units[1]) ** 2 * weight).sum(1).mean((1, 2))
            tap += 1
    return total


@torch.no_grad()
def test_the_formula(folder: Path) -> None:
    """Would catch a wrong tap, a missing shift, inputs in the wrong range."""
    network = load_lpips(folder)
    first, second = torch.rand(2, 2, 3, 32, 48)
    expected = plain_lpips(folder, 2 * first - 1, 2 * second - 1)
    torch.testing.assert_close(network(first, second), expected, rtol=1e-4, atol=1e-6)
    assert (network(first, first) == 0).all()


def test_gradients_are_finite_on_black_frames(folder: Path) -> None:
    """Would catch the infinite slope of a square root at 0."""
    frames = torch.zeros(1, 3, 32, 32, requires_grad=True)
    load_lpips(folder)(frames, torch.rand(1, 3, 32, 32)).sum().backward()
    assert frames.grad is not None and torch.isfinite(frames.grad).all()


def test_missing_weights_say_where_to_get_them(tmp_path: Path, folder: Path) -> None:
    """Would catch a bare file error, or a missing tensor that is skipped."""
    with pytest.raises(InputError, match="download_checkpoints.py --what lpips"):
        load_lpips(tmp_path)
    torch.save({}, tmp_path / BACKBONE_FILE)
    (tmp_path / LINEAR_FILE).write_bytes((folder / LINEAR_FILE).read_bytes())
    with pytest.raises(InputError, match=r"features\.0\.weight"):
        load_lpips(tmp_path)
