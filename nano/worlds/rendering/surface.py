"""The surface where a ray hits: normal, coordinates on it, material.

Points, directions and normals are three planes `(x, y, z)` in scene coordinates.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..shapes import Planes, Rays
from .raycast import CYLINDER, SHELL, SPHERE, CastScene, Hits

# Surfaces of the shell, in the order of its materials.
FLOOR, CEILING, WALL_X, WALL_Z, SKY = range(5)
SHELL_MATERIALS = 5
# The least cosine of a ray with a normal in the width of a pixel: edge-on it would be infinite.
LEAST_SLANT = 0.05


@dataclass(frozen=True)
class Surface:
    """The surface where rays hit it.

    `local` is the point in the solid's own coordinates, or for the sky a unit direction. `u` and
    `v` are arc lengths along the surface; `v` is vertical, except on horizontal faces. `widths` are
    the extents along u and v that a sample covers there. `material` is the column in
    `CastScene.materials`. On curved sides `radius` is that of the solid, elsewhere 0.
    """

    point: Planes
    normal: Planes
    local: Planes
    u: Rays
    v: Rays
    widths: tuple[Rays, Rays]
    material: Int[Tensor, "camera ray"]
    is_sky: Bool[Tensor, "camera ray"]
    is_sphere: Bool[Tensor, "camera ray"]
    radius: Rays


def surface_at(
    scene: CastScene,
    origin: Float[Tensor, "3 camera"],
    direction: Planes,
    *,
    hits: Hits,
    angle: Float[Tensor, "camera 1"],
) -> Surface:
    """The surface at `hits` of samples that are `angle` wide (in radians)."""
    solid, point = hits.solid, origin[..., None] + hits.t * direction
    index = solid[:, None].expand(-1, scene.table.shape[1], -1)
    gathered = scene.table.gather(2, index).unbind(1)
    center, half, (cos, sin, kind) = gathered[:3], gathered[3:6], gathered[6:]
    moved = [part - middle for part, middle in zip(point, center, strict=True)]
    x, y, z = cos * moved[0] - sin * moved[2], moved[1], sin * moved[0] + cos * moved[2]
    # The face is the one with the nearest plane, since rounding moves the hit off the surface.
    gap_x, gap_y, gap_z = (
        (extent - part.abs()).abs() for part, extent in zip((x, y, z), half, strict=True)
    )
    is_cylinder, is_sphere, is_shell = kind == CYLINDER, kind == SPHERE, kind == SHELL
    radial = (x * x + z * z).sqrt()
    is_curved = is_sphere | (is_cylinder & ((half[0] - radial).abs() < gap_y))
    on_y = (is_cylinder & ~is_curved) | ((gap_y < gap_x) & (gap_y <= gap_z))
    on_x = ~on_y & (gap_x <= gap_z)
    # Outward unit normals in local axes; those of the shell point inwards.
    height = y * is_sphere
    scale = (x * x + height * height + z * z).clamp_min(1e-12).rsqrt()
    sign = 1 - 2 * is_shell.to(x.dtype)
    flat = (x.sign() * (on_x * sign), y.sign() * (on_y * sign), z.sign() * (~(on_x | on_y) * sign))
    curved = (x * scale, height * scale, z * scale)
    nx, ny, nz = (torch.where(is_curved, a, b) for a, b in zip(curved, flat, strict=True))
    normal = torch.stack((cos * nx + sin * nz, ny, cos * nz - sin * nx))
    reached = (point * point).sum(0).sqrt() > 0.999 * scene.dome
    is_sky = is_shell & reached
    # Around a curved side u is the arc length, so that patterns keep their scale.
    u = torch.where(is_curved, torch.atan2(x, z) * half[0], torch.where(on_x, z, x))
    v = torch.where(on_y & ~is_curved, z, y)
    face = torch.where(on_y, (y < 0) * CEILING, torch.where(on_x, WALL_X, WALL_Z))
    face = face.masked_fill(is_sky, SKY)
    u_width, v_width = _widths(
        hits.t,
        direction=direction,
        normal=normal,
        turn=(cos, sin),
        faces=(on_x, on_y, is_curved),
    )
    return Surface(
        point=point,
        normal=normal,
        # The sky is painted by direction, on its unit sphere, where a sample's extent is its angle.
        local=torch.where(is_sky, point / scene.dome, torch.stack((x, y, z))),
        u=u,
        v=v,
        widths=(
            torch.where(is_sky, angle, u_width * angle),
            torch.where(is_sky, angle, v_width * angle),
        ),
        material=solid + face * is_shell,
        is_sky=is_sky,
        is_sphere=is_sphere,
        radius=half[0] * is_curved,
    )


def _widths(
    t: Rays,
    *,
    direction: Planes,
    normal: Planes,
    turn: tuple[Rays, Rays],
    faces: tuple[Tensor, Tensor, Tensor],
) -> tuple[Rays, Rays]:
    """The extents along u and v of the ellipse where a cone of one radian meets the surface.

    `turn` is the cosine and sine of the yaw; `faces` tells which points are on x, on y and curved.
    """
    cos, sin = turn
    on_x, on_y, is_curved = faces
    length = (direction * direction).sum(0).sqrt()
    ahead = direction / length
    slant = (normal * ahead).sum(0)
    x, y, z = (ahead - slant * normal) / slant.abs().clamp_min(LEAST_SLANT)
    x, z = cos * x - sin * z, sin * x + cos * z
    # Around a curved side u and v follow no fixed axes: the longest extent serves both.
    longest = (x * x + y * y + z * z) * is_curved
    u, v = torch.where(on_x, z, x), torch.where(on_y, z, y)
    u, v = torch.maximum(u * u, longest), torch.maximum(v * v, longest)
    return t * length * (1 + u).sqrt(), t * length * (1 + v).sqrt()
