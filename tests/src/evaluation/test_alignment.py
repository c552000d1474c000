"""Camera errors against motions that are known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.evaluation.alignment import camera_errors, window_shifts

HEIGHT, WIDTH = 96, 160
LENS = torch.tensor([150.0, 150.0, 80.0, 48.0])


def waves(x: Tensor, y: Tensor) -> Tensor:
    """A smooth picture that is known between its pixels."""
    channels = [
        0.5 + 0.2 * torch.sin(x / a + y / b) + 0.2 * torch.cos(x / b - y / a + c)
        for a, b, c in ((7.0, 9.0, 0.3), (11.0, 6.0, 1.1), (8.0, 13.0, 2.0))
    ]
    return torch.stack(channels)[None]


def pixels() -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return columns + 0.5, rows + 0.5


EVERYWHERE = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)


@pytest.mark.parametrize("motion", [(0.0, 0.0, 0.0), (0.02, -0.01, 0.0), (0.0, 0.0, 0.03)])
def test_a_moved_camera_is_found(motion: tuple[float, float, float]) -> None:
    """A wrong sign or unit in the field of a translation, or an error of the same camera."""
    x, y = pixels()
    depth = 2 + 0.5 * torch.sin(x / 40) + 0.3 * torch.cos(y / 30)
    fx, fy, cx, cy = LENS.tolist()
    tx, ty, tz = motion
    # The picture is painted on the surface; the camera moves by `motion`.
    px, py = (x - cx) / fx * depth, (y - cy) / fy * depth
    u = (px - tx) / (depth - tz) * fx + cx
    v = (py - ty) / (depth - tz) * fy + cy
    reference, frame = waves(u, v), waves(x, y)
    # Seen from the moved camera, approximately: reference(x) = frame(x - displacement).
    expected = ((u - x) ** 2 + (v - y) ** 2).mean().sqrt().item()
    found = camera_errors(frame, reference, depth[None], LENS, EVERYWHERE).item()
    assert found == pytest.approx(expected, rel=0.05, abs=0.01)


def test_a_masked_part_does_not_count() -> None:
    """Invented pixels that are taken for a moved camera."""
    x, y = pixels()
    frame, depth = waves(x, y), torch.full((1, HEIGHT, WIDTH), 3.0)
    changed = frame.clone()
    changed[..., 80:] = waves(y, x)[..., 80:]
    mask = EVERYWHERE.clone()
    mask[..., 74:] = False
    assert camera_errors(changed, frame, depth, LENS, mask).item() < 0.02
    assert camera_errors(changed, frame, depth, LENS, EVERYWHERE).item() > 0.1


def test_windows_find_a_shift() -> None:
    """A shift in another unit, or flat windows that count as still."""
    x, y = pixels()
    frame, reference = waves(x, y), waves(x + 0.6, y - 0.8)
    shifts = window_shifts(frame, reference, EVERYWHERE)
    assert len(shifts) > 40 and shifts.median().item() == pytest.approx(1.0, rel=0.03)
    flat = torch.full_like(frame, 0.5)
    assert len(window_shifts(flat, flat, EVERYWHERE)) == 0
    assert len(window_shifts(frame, reference, ~EVERYWHERE)) == 0
    half = F.pad(EVERYWHERE[..., :80], (0, 80))
    assert 0 < len(window_shifts(frame, reference, half)) <= 30
