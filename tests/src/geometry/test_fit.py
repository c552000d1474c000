"""Pictures change size and shape together with their cameras."""

import pytest
import torch
from torch import Tensor

from src.geometry.fit import WHOLE, FitMode, plan_fit, sample_region
from src.runtime import InputError

SIZES = [(48, 80), (80, 48), (50, 50), (20, 32), (7, 300), (300, 7), (1, 1)]
MODES = ["crop", "pad", "stretch"]


def ramp(height: int, width: int) -> Tensor:
    """Red rises along x, green along y, blue is 100; in steps of the whole picture's size."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    planes = (x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), torch.full(x.shape, 100))
    return torch.stack([plane.round() for plane in planes], dim=-1).to(torch.uint8)


def fitted(image: Tensor, target: tuple[int, int], mode: FitMode) -> Tensor:
    fit = plan_fit(image.shape[0], image.shape[1], target, mode)
    return fit.paste(fit.resize(image))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_every_shape_becomes_the_target(size: tuple[int, int], mode: FitMode) -> None:
    """Catches a shape that fails, or a result of another size."""
    assert fitted(ramp(*size), (24, 40), mode).shape == (24, 40, 3)
    lens = plan_fit(*size, (24, 40), mode).intrinsics(torch.tensor([30.0, 30, 10, 10]))
    assert lens.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(48, 90), (90, 48), (23, 37), (240, 401)])
def test_the_camera_follows_the_picture(size: tuple[int, int], mode: FitMode) -> None:
    """Catches intrinsics that forget the scale, the cut or the bars: a ray must keep its colour."""
    height, width = size
    image = ramp(height, width)
    lens = torch.tensor([1.2 * width, 1.1 * width, 0.4 * width, 0.6 * height])
    target = (30, 50)
    shown = fitted(image, target, mode)
    fx, fy, cx, cy = plan_fit(height, width, target, mode).intrinsics(lens).tolist()
    for row, column in ((12, 20), (15, 25), (18, 30)):
        x, y = (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
        source_x, source_y = x * lens[0] + lens[2], y * lens[1] + lens[3]
        red, green, blue = shown[row, column].tolist()
        assert red == pytest.approx(float(source_x - 0.5) * 255 / (width - 1), abs=3)
        assert green == pytest.approx(float(source_y - 0.5) * 255 / (height - 1), abs=3)
        assert abs(blue - 100) <= 1


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("size", [(20, 32), (3072, 8192), (880, 500)])
def test_crop_and_pad_keep_square_pixels(size: tuple[int, int], mode: FitMode) -> None:
    """Catches pixels that are not square any more, as whole-pixel cuts of tiny pictures are."""
    fit = plan_fit(*size, (352, 640), mode)
    fx, fy, cx, cy = fit.intrinsics(torch.tensor([100.0, 100.0, size[1] / 2, size[0] / 2])).tolist()
    # Padded content has a whole number of pixels.
    assert fx == pytest.approx(fy, rel=1e-6 if mode == "crop" else 0.5 / min(fit.content))
    assert cx == pytest.approx(320, abs=0.51) and cy == pytest.approx(176, abs=0.51)


def test_pad_shows_everything_and_crop_fills_everything() -> None:
    """Catches the two exchanged, and bars that are not black."""
    white = torch.full((40, 40, 3), 255, dtype=torch.uint8)
    padded = fitted(white, (20, 60), "pad")
    assert (padded[:, :20] == 0).all() and (padded[:, 40:] == 0).all()
    assert (padded[:, 20:40] == 255).all()
    assert (fitted(white, (20, 60), "crop") == 255).all()


def test_fine_patterns_are_averaged() -> None:
    """Catches 8k-wide pictures that are reduced without antialiasing."""
    stripes = torch.zeros(64, 512, 3, dtype=torch.uint8)
    stripes[:, ::2] = 255
    small = fitted(stripes, (8, 64), "stretch").float()
    assert (small - 127.5).abs().max() < 6


def test_regions_are_sampled_where_they_lie() -> None:
    """Catches a region that is flipped, shifted by half a pixel or swapped in x and y."""
    x = (torch.arange(40) + 0.5) / 40
    y = (torch.arange(20) + 0.5) / 20
    grid = torch.stack([x.expand(20, 40), y[:, None].expand(20, 40)])
    torch.testing.assert_close(sample_region(grid, WHOLE, (20, 40)), grid)
    part = sample_region(grid, (0.25, 0.1, 0.75, 0.6), (7, 9))
    assert part.shape == (2, 7, 9)
    expected_x = 0.25 + 0.5 * (torch.arange(9) + 0.5) / 9
    expected_y = 0.1 + 0.5 * (torch.arange(7) + 0.5) / 7
    torch.testing.assert_close(part[0], expected_x.expand(7, 9))
    torch.testing.assert_close(part[1], expected_y[:, None].expand(7, 9))
    nearest = sample_region(grid, WHOLE, (5, 5), mode="nearest")
    assert torch.isin(nearest[0], grid[0]).all()


def test_bad_requests_are_refused() -> None:
    """Catches empty sizes, which would divide by zero."""
    for sizes in ((0, 10, (5, 5)), (10, 10, (5, 0))):
        with pytest.raises(InputError, match="picture size"):
            plan_fit(*sizes)
