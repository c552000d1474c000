"""Soft light: a lamp or the sun with soft shadows, and light from the sky and from the floor.

Colours depend on the surface point alone (haze is measured from the scene's origin), so all
cameras see the same colour there. Light is linear until `develop`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..palettes import Color
from ..shapes import Planes, Rays, Scalars, Triple, Vectors, dot, scaled, solid_axis, spread
from .materials import GAMMA
from .raycast import CastScene, Part
from .surface import Surface
from .textures import Painted, smooth_step

# Contact shading: its strength, its reach in smallest half extents, and its longest reach.
CONTACT, CONTACT_REACH, LONGEST_REACH = 0.9, 0.6, 0.08
CORNER, CORNER_REACH = 0.35, 0.16
# Width of the darkening where a solid touches the lit side of a surface.
SHADOW_RIM = 0.012
EXPOSURE, CONTRAST = 1.7, 0.35


@dataclass(frozen=True)
class Light:
    """The light of one world, in scene units and linear colours."""

    position: Triple
    color: Color
    above: Color
    below: Color
    haze: Color
    density: float
    softness: float
    reach: float

    def scaled(self, factor: float) -> "Light":
        """The same light when every length of the scene is multiplied by `factor`."""
        position, density = scaled(self.position, factor), self.density / factor
        return replace(self, position=position, density=density, reach=self.reach * factor)

    def row(self) -> list[float]:
        """The 18 numbers, in the order that `illuminate` unpacks."""
        colors = [*self.position, *self.color, *self.above, *self.below, *self.haze]
        return [*colors, self.density, self.softness, self.reach]


def _occlusion(
    part: Part, *, point: Vectors, normal: Vectors, light: Vectors, softness: Scalars
) -> tuple[Scalars, Scalars]:
    """Shadow of the lamp and shading of the light from all around, by each solid.

    The shadow is a signed distance: from the point where the ray to the lamp is deepest in the
    solid (or nearest to it) to its surface, over the width of the lamp's cone there. -1 is full
    shadow, 0 its outline, 1 full light. The shading lies in [0, 1].
    """
    start, along = part.local(point), part.turned(light)
    near, far = part.shape.interval(start, along, part.half)
    middle = (0.5 * (near + far)).clamp_min(0)
    x, y, z = (torch.addcmul(a, middle, b) for a, b in zip(start, along, strict=True))
    clear = part.shape.distance((x, y, z), part.half) / (softness * middle + SHADOW_RIM)

    half = part.half
    size = torch.minimum(torch.minimum(half[0], half[1]), half[2])
    reach = (CONTACT_REACH * size).clamp(1e-4, LONGEST_REACH)
    contact = (-part.shape.distance(start, half).clamp_min(0) / reach).exp()
    # A solid in front of the surface hides more than one at its side; one behind hides nothing.
    ahead = -dot(start, part.turned(normal)) * dot(start, start).clamp_min(1e-9).rsqrt()
    return clear, contact * (0.5 + 0.6 * ahead).clamp(0, 1)


def _openness(scene: CastScene, surface: Surface) -> Rays:
    """The share of the light from all around that walls, floor and ceiling leave, in [0, 1]."""
    shell, normal = scene.shell, spread(surface.normal)
    position, facing = shell.local(spread(surface.point)), shell.turned(normal)
    hidden = torch.zeros_like(surface.u).unsqueeze(solid_axis())
    for place, extent, towards in zip(position, shell.half, facing, strict=True):
        gap = (extent - place.abs()).clamp_min(0) / CORNER_REACH
        hidden = hidden + (-gap).exp() * (0.5 + 0.5 * towards * place.sign())
    return (-CORNER * hidden).exp().squeeze(solid_axis())


def _visibility(
    scene: CastScene,
    surface: Surface,
    *,
    solid: Int[Tensor, "camera ray"],
    light: Planes,
    softness: Float[Tensor, "camera 1"],
) -> tuple[Rays, Rays]:
    """The shares of the lamp's light and of the light from all around that reach the surface."""
    clear, contact = torch.ones_like(surface.u), torch.zeros_like(surface.u)
    point, normal, along = spread(surface.point), spread(surface.normal), spread(light)
    axis = solid_axis()
    for part in scene.casting_parts:
        beside, near = _occlusion(
            part, point=point, normal=normal, light=along, softness=softness[:, None]
        )
        index = torch.arange(near.shape[axis], device=solid.device) + part.start
        # Convex solids neither shade their own lit side nor touch themselves.
        own = solid.unsqueeze(axis) == (index if axis == 2 else index[:, None])
        clear = torch.minimum(clear, beside.masked_fill(own, 1).amin(axis))
        contact = contact + near.masked_fill(own, 0).sum(axis)
    around = (-CONTACT * contact).exp() * _openness(scene, surface)
    return smooth_step(0.5 + 0.5 * clear), around


def illuminate(
    scene: CastScene, surface: Surface, solid: Int[Tensor, "camera ray"], painted: Painted
) -> Planes:
    """Linear radiance of surface points of `solid`, with haze."""
    rows, (paint, glow) = scene.light.T[:, :, None], painted
    position, color, above, below, haze = rows[:15].unflatten(0, (5, 3)).unbind(0)
    density, softness, reach = rows[15:].unbind(0)
    towards = position - surface.point
    distance = (towards * towards).sum(0).sqrt()
    along = towards / distance
    direct, around = _visibility(scene, surface, solid=solid, light=along, softness=softness)
    facing = (along * surface.normal).sum(0).clamp_min(0)
    # The inverse square law beyond `reach`, without its pole at the lamp.
    lamp = facing * direct / (1 + (distance / reach).square())
    # The y axis points down: a normal of y = -1 faces the sky.
    ambient = torch.lerp(below, above, 0.5 - 0.5 * surface.normal[1]) * around
    lit = paint * torch.lerp(color * lamp + ambient, torch.ones_like(ambient), glow)
    away = (surface.point * surface.point).sum(0).sqrt()
    veil = (1 - (-density * away).exp()).masked_fill(surface.is_sky, 0)
    return torch.lerp(lit, haze.expand_as(lit), veil)


def develop(radiance: Planes) -> Planes:
    """Display colours in [0, 1]: a film's soft shoulder, the gamma curve, a little contrast."""
    flat = (1 - (-EXPOSURE * radiance).exp()).clamp(1e-6, 1).pow(1 / GAMMA)
    return torch.lerp(flat, flat * flat * (3 - 2 * flat), CONTRAST)
