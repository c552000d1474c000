"""What a rasteriser refuses to be asked for."""

import math

import pytest

from src.rendering.options import RasterizeOptions
from src.runtime import InputError


@pytest.mark.parametrize(
    ("near", "far"), [(-1.0, 500.0), (0.0, 500.0), (2.0, 2.0), (0.1, math.nan)]
)
def test_a_bad_depth_range_is_the_users_error(near: float, far: float) -> None:
    """Would catch an assertion, which says nothing to a user, or a range that shows nothing."""
    with pytest.raises(InputError, match=rf"near and far .* got {near} and {far}"):
        RasterizeOptions(near=near, far=far)
