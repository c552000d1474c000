"""Depth from a file follows the part of the picture that is shown."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.depth.backends.choice import FileDepth
from src.depth.estimate import assumed_intrinsics
from src.geometry.fit import plan_fit


def floor(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    return (1 + x / width + 2 * y / height).astype(np.float32)


@pytest.mark.parametrize("mode", ["crop", "stretch"])
@pytest.mark.parametrize("stored", [(30, 20), (120, 80), (11, 7)])
def test_the_map_covers_the_whole_picture(
    tmp_path: Path, stored: tuple[int, int], mode: str
) -> None:
    """Catches depth that is stretched over the part that is shown, or tied to one resolution."""
    np.save(tmp_path / "d.npy", floor(*stored))
    fit = plan_fit(60, 40, (24, 36), "crop" if mode == "crop" else "stretch")
    result = FileDepth(tmp_path / "d.npy")(torch.zeros(3, 24, 36), fit.region)
    left, top, right, bottom = fit.region
    x = left + (right - left) * (torch.arange(36) + 0.5) / 36
    y = top + (bottom - top) * (torch.arange(24) + 0.5) / 24
    expected = 1 + x + 2 * y[:, None]
    # Away from the border, half of a stored pixel in from it, interpolation is exact.
    inside = (x > 0.5 / stored[1]) & (x < 1 - 0.5 / stored[1])
    inside = inside & ((y > 0.5 / stored[0]) & (y < 1 - 0.5 / stored[0]))[:, None]
    assert inside.any() and result.mask.all()
    torch.testing.assert_close(result.depth[inside], expected[inside], rtol=1e-5, atol=1e-5)


def test_its_camera_is_cut_with_it(tmp_path: Path) -> None:
    """Catches intrinsics in pixels of the file, or of the whole picture."""
    np.savez(tmp_path / "d.npz", depth=floor(30, 20), intrinsics=np.array([20.0, 22, 9, 16]))
    fit = plan_fit(60, 40, (24, 36), "crop")
    result = FileDepth(tmp_path / "d.npz")(torch.zeros(3, 24, 36), fit.region)
    whole = torch.tensor([40.0, 44.0, 18.0, 32.0])
    torch.testing.assert_close(result.intrinsics, fit.intrinsics(whole))


def test_unknown_pixels_do_not_bleed(tmp_path: Path) -> None:
    """Catches zeros and infinities that are blended into their neighbours' depth."""
    depth = np.full((4, 8), 2.0, dtype=np.float32)
    depth[:, 3:5] = [0, np.inf]
    np.save(tmp_path / "d.npy", depth)
    result = FileDepth(tmp_path / "d.npy")(torch.zeros(3, 16, 32))
    assert torch.allclose(result.depth[result.mask], torch.tensor(2.0))
    assert result.mask.float().mean() == pytest.approx(0.75)
    assert (result.depth[~result.mask] == torch.inf).all()


def test_the_assumed_lens_sees_sixty_degrees_across_the_longer_side() -> None:
    """Catches a field of view that grows when a picture is cropped."""
    wide = assumed_intrinsics(30, 60)
    assert wide.tolist() == pytest.approx([30 * 3**0.5, 30 * 3**0.5, 30, 15])
    assert assumed_intrinsics(60, 30).tolist() == pytest.approx([30 * 3**0.5] * 2 + [15, 30])
    half = assumed_intrinsics(30, 30, (0.5, 0.0, 1.0, 1.0))
    assert half.tolist() == pytest.approx([30 * 3**0.5, 30 * 3**0.5, 0, 15])
