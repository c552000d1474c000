"""Metrics of videos: batches, lengths, sizes, and the resize of the reference."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.evaluation import compare
from src.evaluation.compare import (
    CompareOptions,
    fit_reference,
    load_measures,
    measure,
    plan_comparison,
)
from src.evaluation.metrics import BACKBONE_FILE, LINEAR_FILE, LPIPS, psnr, ssim
from src.runtime import InputError


def random_frames(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8)


def planes(frames: torch.Tensor) -> torch.Tensor:
    """Frames as the metrics take them."""
    return frames.permute(0, 3, 1, 2) / 255


def test_values_are_those_of_each_frame(save_frames, tmp_path: Path, monkeypatch) -> None:
    """Would catch a frame lost between batches, a wrong scale, a hidden perfect match."""
    ours, theirs = random_frames(5, 16, 20), random_frames(5, 16, 20)
    theirs[3] = ours[3]
    paths = (save_frames(tmp_path / "a", ours), save_frames(tmp_path / "b", theirs))
    monkeypatch.setattr(compare, "BATCH_PIXELS", 2 * 16 * 20)
    planned = plan_comparison(*paths, CompareOptions())
    found = measure(planned, load_measures(("psnr", "ssim"), tmp_path))
    assert planned.num_frames == 5
    assert (planned.prediction.height, planned.prediction.width) == (16, 20)
    assert math.isinf(found["psnr"][3])
    for name, metric in {"psnr": psnr, "ssim": ssim}.items():
        expected = metric(planes(ours), planes(theirs)).tolist()
        assert found[name] == pytest.approx(expected, rel=1e-6)


def test_lpips_runs_where_its_weights_are(save_frames, tmp_path: Path, monkeypatch) -> None:
    """Would catch a metric that is dropped in silence, and chunks that change its values."""
    ours, theirs = random_frames(3, 16, 32), random_frames(3, 16, 32)
    paths = (save_frames(tmp_path / "a", ours), save_frames(tmp_path / "b", theirs))
    absent = load_measures(("psnr", "lpips"), tmp_path / "none")
    assert list(absent.functions) == ["psnr"]
    assert absent.missing == {"lpips": f"no weights in {tmp_path / 'none'}"}
    network = LPIPS().requires_grad_(False)
    for weight in network.linear:
        weight.uniform_()
    state = network.state_dict()
    torch.save({k: v for k, v in state.items() if "features" in k}, tmp_path / BACKBONE_FILE)
    linear = {f"lin{i}.model.1.weight": weight for i, weight in enumerate(network.linear)}
    torch.save(linear, tmp_path / LINEAR_FILE)
    monkeypatch.setattr(compare, "LPIPS_PIXELS", 16 * 32)
    planned = plan_comparison(*paths, CompareOptions())
    found = measure(planned, load_measures(("lpips",), tmp_path))
    expected = network(planes(ours), planes(theirs)).tolist()
    assert found["lpips"] == pytest.approx(expected, rel=1e-4)


def test_lengths_are_cut_only_when_asked(save_frames, tmp_path: Path) -> None:
    """Would catch missing reference frames that count as black ones, or as none, unasked."""
    ours = save_frames(tmp_path / "a", random_frames(4, 12, 12))
    theirs = save_frames(tmp_path / "b", random_frames(3, 12, 12))
    with pytest.raises(InputError, match="/a and .*/b: got 4 and 3 frames"):
        plan_comparison(ours, theirs, CompareOptions())
    with pytest.raises(InputError, match=r"/a and .*/b: got --frames 4, .* \(3\)"):
        plan_comparison(ours, theirs, CompareOptions(frames=4))
    measures = load_measures(("psnr",), tmp_path)
    for frames, count in (("common", 3), (2, 2)):
        planned = plan_comparison(ours, theirs, CompareOptions(frames=frames))
        assert planned.num_frames == len(measure(planned, measures)["psnr"]) == count


def test_sizes_differ_only_when_asked(save_frames, tmp_path: Path) -> None:
    """Would catch a resize that nobody asked for, or that is made of the prediction."""
    frames = random_frames(2, 24, 32)
    ours = save_frames(tmp_path / "a", frames[:, 4:20])
    theirs = save_frames(tmp_path / "b", frames)
    with pytest.raises(InputError, match="16x32 and 24x32 pixels, expected equal sizes"):
        plan_comparison(ours, theirs, CompareOptions())
    options = CompareOptions(resize="crop")
    planned = plan_comparison(ours, theirs, options)
    found = measure(planned, load_measures(("psnr",), tmp_path))
    assert (planned.prediction.height, planned.prediction.width) == (16, 32)
    assert all(map(math.isinf, found["psnr"]))


@pytest.mark.parametrize("size", [(40, 64), (44, 60), (32, 91), (20, 32), (7, 9)])
def test_fit_keeps_square_pixels_and_the_middle(size: tuple[int, int]) -> None:
    """Would catch a stretched reference, one that does not cover, or a crop off the middle."""
    height, width = 20, 32
    scale = max(height / size[0], width / size[1])
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 - n / 2 for n in size), indexing="ij")
    found = fit_reference(torch.stack((x, y, x))[None], (height, width))
    assert found.shape == (1, 3, height, width)
    # A ramp shows where each pixel comes from; borders blend fewer pixels. Sizes are rounded.
    column = (torch.arange(width) + 0.5 - width / 2) / scale
    row = (torch.arange(height) + 0.5 - height / 2) / scale
    inside = found[0, :, 3:-3, 3:-3]
    assert (inside[0] - column[3:-3]).abs().max() < 0.8 / scale
    assert (inside[1] - row[3:-3, None]).abs().max() < 0.8 / scale


def test_frames_too_small_for_a_metric(tmp_path: Path) -> None:
    """Would catch an error from inside a library, without the file's name."""
    Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
    measures = load_measures(("ssim",), tmp_path)
    planned = plan_comparison(tmp_path / "x.png", tmp_path / "x.png", CompareOptions())
    with pytest.raises(InputError, match="x.png: got 10x10 pixels, expected at least 11"):
        measure(planned, measures)


def test_unknown_metrics_are_refused(tmp_path: Path) -> None:
    """Would catch a misspelt metric that is left out."""
    with pytest.raises(InputError, match="pnsr"):
        load_measures(("pnsr",), tmp_path)
