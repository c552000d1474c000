"""Changes to a scene before it is exported: fewer Gaussians, another unit, another up axis."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..gaussians import Gaussians
from ..io.scene import SplatScene
from ..runtime import InputError

# Rotations about the x axis, in degrees, that turn up -y (OpenCV) into up y and up z.
TURNS: dict[str, float] = {"-y": 0.0, "y": 180.0, "z": -90.0}


@dataclass(frozen=True, kw_only=True)
class EditConfig:
    """Which Gaussians stay, and the axes and the unit of the result.

    Attributes:
        min_opacity: in [0, 1]; fainter Gaussians are dropped.
        crop_box: least and largest x, y, z of the centres that stay, in the scene's own axes.
        max_gaussians: keeps that many of each moment, those that contribute most to a picture.
        up: the axis that points up in the result, `-y` (OpenCV's), `y` or `z`; None leaves it.
        median_depth: metres that the scene's median depth becomes; None keeps the unit.
    """

    min_opacity: float = 0.0
    crop_box: tuple[float, float, float, float, float, float] | None = None
    max_gaussians: int | None = None
    up: str | None = None
    median_depth: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_opacity <= 1:
            raise InputError("min_opacity", self.min_opacity, "an opacity in [0, 1]")
        box = self.crop_box
        if box is not None and not all(a < b for a, b in zip(box[:3], box[3:], strict=True)):
            raise InputError("crop_box", box, "x0 y0 z0 x1 y1 z1, the first three smaller")
        if self.max_gaussians is not None and self.max_gaussians < 1:
            raise InputError("max_gaussians", self.max_gaussians, "at least 1")
        if self.up not in {*TURNS, None}:
            raise InputError("up", self.up, f"one of {', '.join(TURNS)}")
        if self.median_depth is not None and not 0 < self.median_depth < math.inf:
            raise InputError("median_depth", self.median_depth, "metres above 0")


def edit_scene(scene: SplatScene, config: EditConfig) -> SplatScene:
    """Returns the scene with fewer Gaussians, in another unit and other axes.

    Raises `InputError` if no Gaussian of a moment is left, or none lies before the first camera.
    """
    moments = tuple(_kept(moment, config) for moment in scene.moments)
    if config.median_depth is not None:
        # One factor for all moments, or a moving scene would pulsate.
        factor = config.median_depth / median_depth(moments[0])
        moments = tuple(scaled(moment, factor) for moment in moments)
    if config.up is None:
        return replace(scene, moments=moments)
    assert scene.up == "-y", f"a scene that was turned already, {scene.up} up"
    moments = tuple(turned(moment, config.up) for moment in moments)
    return replace(scene, moments=moments, up=config.up)


def contributions(gaussians: Gaussians) -> Float[Tensor, " gaussian"]:
    """Returns opacity times the solid angle that a Gaussian covers, seen from the origin.

    The origin is the first camera; the two largest scales span the covered area.
    """
    largest = gaussians.scales.topk(2, dim=-1).values.prod(dim=-1)
    return gaussians.opacities * largest / gaussians.means.square().sum(dim=-1).clamp(min=1e-6)


def median_depth(gaussians: Gaussians) -> float:
    """Returns the median z of the Gaussians before the first camera, weighted by contribution."""
    ahead = gaussians.means[:, 2] > 0
    if not ahead.any():
        raise InputError("median_depth", "no Gaussian before the first camera", "a scene in view")
    depth, order = gaussians.means[ahead, 2].sort()
    weights = contributions(gaussians)[ahead][order].double().cumsum(0)
    return float(depth[int(torch.searchsorted(weights, weights[-1] / 2))])


def scaled(gaussians: Gaussians, factor: float) -> Gaussians:
    """Returns the Gaussians in another unit of length."""
    return Gaussians(
        means=gaussians.means * factor,
        opacities=gaussians.opacities,
        scales=gaussians.scales * factor,
        quats=gaussians.quats,
        colors=gaussians.colors,
    )


def turned(gaussians: Gaussians, up: str) -> Gaussians:
    """Returns the Gaussians rotated about the x axis, so that `up` points up."""
    if up == "-y":
        return gaussians
    angle = math.radians(TURNS[up])
    # Exact for quarter turns, where cosines of floats are not.
    cos, sin = round(math.cos(angle)), round(math.sin(angle))
    rotation = gaussians.means.new_tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    c, s = math.cos(angle / 2), math.sin(angle / 2)
    w, x, y, z = gaussians.quats.unbind(-1)
    return Gaussians(
        means=gaussians.means @ rotation.mT,
        opacities=gaussians.opacities,
        scales=gaussians.scales,
        quats=torch.stack([c * w - s * x, c * x + s * w, c * y - s * z, c * z + s * y], dim=-1),
        colors=gaussians.colors,
    )


def _kept(gaussians: Gaussians, config: EditConfig) -> Gaussians:
    keep: Bool[Tensor, " gaussian"] = gaussians.opacities >= config.min_opacity
    if config.crop_box is not None:
        box = gaussians.means.new_tensor(config.crop_box)
        keep &= ((gaussians.means >= box[:3]) & (gaussians.means <= box[3:])).all(dim=-1)
    left = gaussians.map(lambda tensor: tensor[keep])
    if not len(left):
        limits = f"min_opacity {config.min_opacity}, crop_box {config.crop_box}"
        raise InputError("the scene", f"no Gaussian left by {limits}", "at least one that stays")
    if config.max_gaussians is None or len(left) <= config.max_gaussians:
        return left
    # In their old order, so that formats that compress neighbours together stay small.
    most = contributions(left).topk(config.max_gaussians).indices.sort().values
    return left.map(lambda tensor: tensor[most])
