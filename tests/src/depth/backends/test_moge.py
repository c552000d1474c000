"""A still image on its way into the depth model, and the model's result on its way out."""

import pytest
import torch
from torch.nn import functional

from src.depth.backends.moge import (
    FARTHEST_DEPTH,
    UNKNOWN_DEPTH,
    moge_estimate,
    prepare_image,
    resize_uint8,
)
from src.runtime import InputError


@pytest.mark.parametrize("size", [(7, 9), (24, 40), (5, 31), (11, 17), (1, 1)])
def test_uint8_resize_stays_next_to_the_real_valued_one(size: tuple[int, int]) -> None:
    """Catches shifted centres, swapped weights, lost borders and overflowing integers."""
    image = torch.randint(0, 256, (11, 17, 3), dtype=torch.uint8)
    ours = resize_uint8(image, *size).double()
    exact = functional.interpolate(image.permute(2, 0, 1)[None].double(), size, mode="bilinear")[0]
    error = ours - exact.permute(1, 2, 0)
    # Weights of 11 bits and truncated products, see the docstring; never more than one step.
    assert error.min() > -1 and error.max() < 0.75
    if size == (11, 17):
        assert torch.equal(ours, image.double())


def test_uint8_resize_keeps_constant_images() -> None:
    """Catches weights that do not add up, which would darken every image."""
    for value in (0, 1, 127, 255):
        image = torch.full((13, 8, 3), value, dtype=torch.uint8)
        assert (resize_uint8(image, 29, 31) == value).all()


def test_halving_averages_four_pixels() -> None:
    """Catches antialiasing over more than the pixels that OpenCV blends."""
    image = torch.randint(0, 256, (8, 12, 3), dtype=torch.uint8)
    corners = [image[i::2, j::2].int() for i in (0, 1) for j in (0, 1)]
    assert torch.equal(resize_uint8(image, 4, 6).int(), (torch.stack(corners).sum(0) + 2) // 4)


def result_of_model(height: int = 18, width: int = 32) -> tuple:
    mask = torch.rand(height, width) > 0.3
    depth = torch.where(mask, 1 + 4 * torch.rand(height, width), torch.inf)
    K = torch.tensor([[0.8, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]])
    return depth, mask, K


def test_rays_stay_on_the_same_part_of_the_picture() -> None:
    """Catches intrinsics that don't follow one of the two resizes (fx != fy on purpose)."""
    depth, mask, K = result_of_model()
    image = torch.rand(3, 18, 32)
    prepared = prepare_image(image, moge_estimate(depth, mask, K), 16, 48)
    fx, fy, cx, cy = prepared.estimate.intrinsics.tolist()
    assert (fx / 48, cx / 48) == pytest.approx((0.8, 0.5))
    assert (fy / 16, cy / 16) == pytest.approx((1.3, 0.5))
    assert prepared.image.shape == (3, 16, 48) and prepared.estimate.depth.shape == (16, 48)
    assert torch.equal(prepared.w2c, torch.eye(4))


def test_same_size_changes_depth_only_where_it_is_unknown() -> None:
    """Catches infinities that survive and valid depth that is touched."""
    depth, mask, K = result_of_model()
    image = torch.rand(3, 18, 32)
    prepared = prepare_image(image, moge_estimate(depth, mask, K), 18, 32)
    result = prepared.estimate
    assert torch.equal(result.mask, mask)
    assert torch.equal(result.depth[mask], depth[mask])
    assert (result.depth[~mask] == UNKNOWN_DEPTH).all()
    assert torch.allclose(prepared.image, 2 * image - 1)


def test_bad_depth_under_the_mask_becomes_far() -> None:
    """Catches NaN, infinite or negative depth that reaches the cache."""
    depth, _, K = result_of_model()
    depth[0, 0], depth[1, 5], depth[2, 9] = torch.nan, torch.inf, -5
    estimate = moge_estimate(depth, torch.ones_like(depth, dtype=torch.bool), K)
    result = prepare_image(torch.rand(3, 18, 32), estimate, 16, 32).estimate.depth
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= FARTHEST_DEPTH


def test_image_of_another_size_is_refused() -> None:
    """Catches depth that is laid over another picture."""
    depth, mask, K = result_of_model()
    with pytest.raises(InputError, match="image of a depth map"):
        prepare_image(torch.rand(3, 9, 32), moge_estimate(depth, mask, K), 16, 32)
