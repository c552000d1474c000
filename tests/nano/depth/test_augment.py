"""Augmentation: pictures, depth and lens stay together, colours change and nothing else does."""

import math

import pytest
import torch

from nano.depth.augment import (
    _about_grey,
    _compress,
    _cosines,
    _Draws,
    add_borders,
    change_colors,
    seen_part,
    whole_part,
)
from nano.depth.config import DepthAugmentConfig
from nano.depth.losses import DepthSamples

SIZE = (32, 48)


def ramps(batch: int = 16, height: int = 64, width: int = 96) -> DepthSamples:
    """Pictures whose red and green are where a pixel is, in shares of the frame; so is depth."""
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) / width)[None].expand(height, width)
    image = torch.stack([x, y, torch.zeros_like(x)]).expand(batch, 3, -1, -1)
    depth = (1 + x + 10 * y).expand(batch, -1, -1)
    return DepthSamples(image, depth, torch.zeros(batch), ["x"] * batch)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_parts_keep_picture_depth_and_lens_together() -> None:
    """Depth of another place than the picture's, a zoom that the focal length does not follow."""
    frames = ramps()
    config = DepthAugmentConfig(closest=0.4, shift=0.1)
    parts = seen_part(frames, SIZE, config, seeded())
    x, y = parts.image[:, 0], parts.image[:, 1]
    # The nearest of 64 rows: up to half a row away.
    torch.testing.assert_close(parts.depth, 1 + x + 10 * y, atol=10 * 0.51 / 64 + 0.01, rtol=0)
    width = (x[:, :, -1] - x[:, :, 0]).abs()[:, 0] * SIZE[1] / (SIZE[1] - 1)
    height = (y[:, -1] - y[:, 0])[:, 0] * SIZE[0] / (SIZE[0] - 1)
    torch.testing.assert_close(width, height, atol=0.01, rtol=0)
    # Both have one shape, so a lens is longer by what of the frame is not seen.
    torch.testing.assert_close(parts.log_focal.exp(), 1 / width, atol=0, rtol=0.03)
    assert width.min() < 0.6 and width.max() > 0.8
    mirrored = x[:, 0, 0] > x[:, 0, -1]
    assert mirrored.any() and not mirrored.all()
    # The middle is where the lens points, within the shift.
    off = (x[:, :, SIZE[1] // 2 - 1 : SIZE[1] // 2 + 1].mean(dim=(1, 2)) - 0.5).abs()
    assert 0.05 < off.max() <= 0.101


@pytest.mark.parametrize("size", [(32, 32), (16, 64), (64, 96)])
def test_the_whole_of_a_frame_is_its_largest_middle_part(size: tuple[int, int]) -> None:
    """A part that is stretched, off the middle or smaller than it could be."""
    frames = ramps(batch=1)
    part = whole_part(frames, size)
    scale = max(size[0] / 64, size[1] / 96)
    assert part.log_focal.exp().item() == pytest.approx(
        scale * math.hypot(64, 96) / math.hypot(*size), rel=1e-5
    )
    middle = part.image[0, :2].mean(dim=(1, 2))
    torch.testing.assert_close(middle, torch.tensor([0.5, 0.5]))
    seen = (part.image[0, 0, 0, -1] - part.image[0, 0, 0, 0]) * size[1] / (size[1] - 1)
    assert seen.item() == pytest.approx(min(size[1] / scale / 96, 1), abs=0.04)


def test_a_part_of_the_same_size_is_the_frame() -> None:
    """Pictures shifted by half a pixel against their depth."""
    frames = ramps(batch=1)
    part = whole_part(frames, (64, 96))
    torch.testing.assert_close(part.image, frames.image)
    torch.testing.assert_close(part.depth, frames.depth)


def test_colors_change_only_as_strongly_as_asked_for() -> None:
    """Changes that cannot be turned off, values beyond [0, 1], all pictures changed alike."""
    image = torch.rand(8, 3, 16, 24) * 0.9 + 0.05
    torch.testing.assert_close(change_colors(image, 0.0, seeded()), image)
    image = torch.full((8, 3, 16, 24), 0.4)
    image[:, 0] = 0.7
    changed = change_colors(image, 1.0, seeded())
    assert changed.min() >= 0 and changed.max() <= 1
    means = changed.mean(dim=(2, 3))
    assert (means.std(dim=0) > 0.05).all()
    torch.testing.assert_close(changed, change_colors(image, 1.0, seeded()))


def test_hue_turns_about_grey() -> None:
    """A rotation that tints grey, or changes how colourful a colour is."""
    angle = torch.tensor([0.5, 2.0])
    matrix = _about_grey(angle, torch.ones(2))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(matrix.sum(dim=2), torch.ones(2, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(2))
    grey = _about_grey(angle, torch.zeros(2))
    torch.testing.assert_close(grey, torch.full((2, 3, 3), 1 / 3))


def test_compression_is_by_blocks_and_keeps_their_mean() -> None:
    """A transform that is not orthonormal, or blocks put together in another order."""
    cosines = _cosines(torch.device("cpu"))
    torch.testing.assert_close(cosines @ cosines.T, torch.eye(8), atol=1e-5, rtol=0)
    image = torch.rand(64, 3, 16, 24) * 0.6 + 0.2
    found = _compress(image, _Draws(64, seeded()), 1.0)
    changed = (found - image).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert 0.1 < changed.float().mean() < 0.6
    # The mean of a block is rounded to steps of at most 0.06 / 8.
    means = [part.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)) for part in (image, found)]
    torch.testing.assert_close(*means, atol=0.004, rtol=0)


def test_bars_hide_depth_and_nothing_else() -> None:
    """Depth that is still wanted where the picture is black; bars in every picture, or in none."""
    frames = ramps(batch=64)
    found = add_borders(frames, 0.5, seeded())
    changed = (found.depth == 0).any(dim=(1, 2))
    assert 0.25 < changed.float().mean() < 0.75
    seen = found.depth > 0
    torch.testing.assert_close(found.depth[seen], frames.depth[seen])
    image, before = found.image.movedim(1, -1), frames.image.movedim(1, -1)
    torch.testing.assert_close(image[seen], before[seen])
    black = (image[~seen] == 0).all(dim=1).float().mean()
    assert 0.2 < black < 0.8
    assert (add_borders(frames, 0.0, seeded()).depth > 0).all()
