"""Crop and resize: the cameras must go on seeing what the pictures show."""

import pytest
import torch
import torch.nn.functional as F

from src.geometry.cameras import Cameras
from src.models.data.fit import ExampleFit


def make_cameras(height: int, width: int) -> Cameras:
    intrinsics = torch.tensor([[40.0, 38.0, width / 2 + 1.5, height / 2 - 0.75]])
    return Cameras(torch.eye(4)[None], intrinsics, width, height)


SIZES = [((20, 32), (16, 24)), ((24, 32), (16, 24)), ((32, 20), (8, 16)), ((23, 41), (16, 24))]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_box_is_the_largest_of_the_aspect(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Would catch a crop along the wrong axis, and one that is smaller than it could be."""
    height, width = ExampleFit(source, target).crop
    assert height == source[0] or width == source[1]
    assert height <= source[0] and width <= source[1]
    wanted = target[1] / target[0]
    assert abs(width - height * wanted) < max(1.0, wanted)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_a_ramp_stays_where_the_cameras_see_it(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Would catch intrinsics that are off by half a pixel, swapped axes, a crop off centre."""
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in source), indexing="ij")
    camera = make_cameras(*source)
    fx, fy, cx, cy = camera.intrinsics[0]
    # The pictures show where the ray of a pixel goes: (x, y) / z. Both are far from clipping.
    rays = torch.stack([(columns - cx) / fx, (rows - cy) / fy, torch.zeros(source)])
    fit = ExampleFit(source, target)
    shown = fit._resize(rays[None])[0]
    seen = fit.cameras(camera)
    assert (seen.height, seen.width) == target
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in target), indexing="ij")
    fx, fy, cx, cy = seen.intrinsics[0]
    expected = torch.stack([(columns - cx) / fx, (rows - cy) / fy])
    # At the border the filter has one side only; elsewhere its few taps are up to 0.08 px off.
    inner = (slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(shown[:2][inner], expected[inner], rtol=0, atol=0.08 / 38)


def test_pictures_are_resized_with_antialiasing() -> None:
    """Would catch plain bilinear sampling, a crop that is left out, values in 0 ... 255."""
    frames = torch.randint(0, 256, (11, 20, 32, 3), dtype=torch.uint8)
    box = frames.movedim(-1, 1)[..., 1:-1].float() / 255
    expected = F.interpolate(box, (8, 12), mode="bilinear", antialias=True)
    color = ExampleFit((20, 32), (8, 12)).color(frames)
    torch.testing.assert_close(color, expected)
    assert color.min() >= 0 and color.max() <= 1


def test_nothing_happens_to_pictures_of_the_right_size() -> None:
    """Would catch a copy in floats, which takes four times the memory."""
    frames = torch.randint(0, 256, (2, 16, 24, 3), dtype=torch.uint8)
    fit = ExampleFit((16, 24), (16, 24))
    color = fit.color(frames)
    assert color.dtype == torch.uint8 and color.data_ptr() == frames.data_ptr()
    assert torch.equal(color, frames.permute(0, 3, 1, 2))
    cameras = make_cameras(16, 24)
    assert torch.equal(fit.cameras(cameras).intrinsics, cameras.intrinsics)


def test_depth_keeps_its_values_and_loses_what_is_unknown() -> None:
    """Would catch depth that is averaged over an edge, and infinite depth in a loss."""
    depth = torch.full((1, 20, 32), 2.0)
    depth[:, :, 16:] = 7
    depth[0, 0], depth[0, 1], depth[0, 2] = torch.inf, -1, torch.nan
    for target in ((20, 32), (16, 24), (40, 64)):
        fitted = ExampleFit((20, 32), target).depth(depth)
        assert fitted.shape == (1, *target)
        assert set(fitted.unique().tolist()) == {0.0, 2.0, 7.0}
    fitted = ExampleFit((20, 32), (16, 24)).depth(depth)
    columns = [1 + int(column * 30 / 24) for column in range(24)]
    rows = [int(row * 20 / 16) for row in range(16)]
    clean = torch.where(torch.isfinite(depth) & (depth > 0), depth, 0.0)
    assert torch.equal(fitted, clean[:, rows][:, :, columns])
