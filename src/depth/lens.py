"""Intrinsics of pictures of which nothing is known."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.fit import WHOLE, Region

# Across the longer side; between a telephone's main camera and a normal lens.
ASSUMED_FIELD_OF_VIEW = 60.0


def assumed_intrinsics(
    height: int, width: int, region: Region = WHOLE, degrees: float = ASSUMED_FIELD_OF_VIEW
) -> Float[Tensor, "4"]:
    """Intrinsics in pixels of a region of a picture of which nothing is known.

    The whole picture is taken to see `degrees` across its longer side, its axis to be the middle.
    """
    left, top, right, bottom = region
    whole_width, whole_height = width / (right - left), height / (bottom - top)
    focal = max(whole_width, whole_height) / (2 * math.tan(math.radians(degrees) / 2))
    centre = ((0.5 - left) * whole_width, (0.5 - top) * whole_height)
    return torch.tensor([focal, focal, *centre])
