"""Worlds: procedural scenes that depend on a seed alone, and batches of them as tensors.

World coordinates are those of the default camera: its pose is the identity, and the depth at the
centre of its picture is 1 at time 0. Scene coordinates are the same, turned level.
"""

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.geometry.cameras import Cameras
from src.runtime import InputError

from .clearance import is_clear, scene_from_world, set_in_motion
from .layout import STILL, Layout, Motion, displacement, draw_layout
from .palettes import FAMILIES
from .photo.layout import draw_photo_layout
from .props import Solid
from .rendering.raycast import CastScene, trace
from .rendering.surface import SHELL_MATERIALS
from .shapes import SHAPES, Rows

PALETTES = ("mixed", *FAMILIES)
DETAILS = ("plain", "photo")
# The random stream of motions; those of layouts are numbered by attempt, from 0.
MOTION_STREAM = 1 << 16
# The random stream of layouts like photographs, beside the attempt.
PHOTO_STREAM = 1
NEAREST_CENTER, FARTHEST_CENTER = 0.75, 1.5
# Solids of each shape in a batch, at least: what `shading.py` can compile.
LEAST_COUNT = 2
# Solids of each shape that cast shadows in worlds like photographs: those that look largest.
CASTERS = (6, 3, 3)
# The place of padding, out of reach of shadows; its extents are negative.
NOWHERE = 1000.0


@dataclass(frozen=True)
class World:
    """A procedural scene; equal values are equal scenes, on every machine.

    `palette` is one of `PALETTES`, where `mixed` draws one by the seed; it changes the layout too.
    `saturation` only scales the colours' distance from grey (1: the palette's own). A dynamic world
    at time 0 is the static world of its seed. `detail` is one of `DETAILS`: another world, `plain`
    or with the textures, the many things and the distances of photographs. Raises `InputError` for
    a negative seed or saturation, an unknown palette or detail.
    """

    seed: int
    dynamic: bool = False
    palette: str = "mixed"
    saturation: float = 1.0
    detail: str = "plain"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError("seed of a world", self.seed, "an integer >= 0")
        if self.palette not in PALETTES:
            raise InputError("palette of a world", repr(self.palette), f"one of {PALETTES}")
        if self.detail not in DETAILS:
            raise InputError("detail of a world", repr(self.detail), f"one of {DETAILS}")
        if not (math.isfinite(self.saturation) and self.saturation >= 0):
            raise InputError("saturation of a world", self.saturation, "a finite number >= 0")

    def draft(self, attempt: int) -> Layout:
        """The still layout of an attempt; the world takes the first one that `is_clear`."""
        if self.detail == "photo":
            rng = np.random.default_rng([self.seed, attempt, PHOTO_STREAM])
            return draw_photo_layout(rng, self.palette, self.saturation)
        rng = np.random.default_rng([self.seed, attempt])
        return draw_layout(rng, self.palette, self.saturation)

    def animated(self, layout: Layout) -> Layout:
        """The layout, with motions if this world is dynamic."""
        if not self.dynamic:
            return layout
        return set_in_motion(layout, np.random.default_rng([self.seed, MOTION_STREAM]))


@dataclass(frozen=True)
class Worlds(Rows):
    """A batch of worlds; solids are padded to `counts` boxes, cylinders and spheres.

    `center`, `half`, `yaw` and `motion` end with the shell (see `CastScene`). `focal` is the focal
    length of the default camera in widths of the picture.
    """

    counts: tuple[int, int, int]
    center: Float[Tensor, "world entry 3"]
    half: Float[Tensor, "world entry 3"]
    yaw: Float[Tensor, "world entry"]
    motion: Float[Tensor, "world entry 11"]
    dome: Float[Tensor, " world"]
    materials: Float[Tensor, "world 20 material"]
    light: Float[Tensor, "world 18"]
    scene_from_world: Float[Tensor, "world 3 3"]
    focal: Float[Tensor, " world"]

    # One of `DETAILS`: how the renderer reads `materials`.
    detail: ClassVar[str] = "plain"
    # See `CastScene`.
    casters: ClassVar[tuple[int, int, int] | None] = None
    least: ClassVar[tuple[int, int, int]] = (LEAST_COUNT, LEAST_COUNT, LEAST_COUNT)

    def __len__(self) -> int:
        return self.focal.shape[0]

    def to(self, target: torch.device | torch.dtype | str) -> "Worlds":
        """The same batch on another device or in another floating-point type."""
        return self.map(lambda tensor: tensor.to(target))

    def sizes(self) -> list[tuple[int, int, int]]:
        """The numbers of boxes, cylinders and spheres of each world, without padding."""
        solid = (self.half[:, :-1, 0] > 0).long().split(self.counts, dim=1)
        rows = torch.stack([part.sum(1) for part in solid], dim=1).tolist()
        return [(boxes, cylinders, spheres) for boxes, cylinders, spheres in rows]

    def trimmed(self, counts: tuple[int, int, int]) -> "Worlds":
        """The same worlds padded to `counts`, which must not exceed those of this batch."""
        assert all(map(operator.le, counts, self.counts)), f"{counts} of {self.counts}"
        starts = (0, *itertools.accumulate(self.counts))
        kept = [
            start + i for start, count in zip(starts, counts, strict=False) for i in range(count)
        ]
        # The shell has one entry and several materials.
        shell = range(starts[-1], starts[-1] + SHELL_MATERIALS)
        device = self.focal.device
        entries = torch.tensor([*kept, shell[0]]).to(device, non_blocking=True)
        materials = torch.tensor([*kept, *shell]).to(device, non_blocking=True)
        return replace(
            self,
            counts=counts,
            center=self.center[:, entries],
            half=self.half[:, entries],
            yaw=self.yaw[:, entries],
            motion=self.motion[:, entries],
            materials=self.materials[:, :, materials],
        )

    def at(self, index: Int[Tensor, " camera"], times: Float[Tensor, " camera"]) -> CastScene:
        """The scenes of worlds `index` at `times`, a row for each."""
        offset, turn = displacement(self.motion[index], times[:, None])
        yaw = self.yaw[index] + turn
        turned = torch.stack((yaw.cos(), yaw.sin()), dim=2)
        numbers = torch.cat([self.center[index] + offset, self.half[index], turned], dim=2)
        boxes, cylinders, spheres, shell = numbers.mT.contiguous().split([*self.counts, 1], dim=2)
        return CastScene(
            boxes=boxes,
            cylinders=cylinders,
            spheres=spheres,
            shell_box=shell,
            dome=self.dome[index, None],
            materials=self.materials[index],
            light=self.light[index],
            casters=self.casters,
        )


@dataclass(frozen=True)
class PhotoWorlds(Worlds):
    """A batch of worlds like photographs: `materials` are coatings."""

    detail: ClassVar[str] = "photo"
    casters: ClassVar[tuple[int, int, int] | None] = CASTERS
    # One more than cast shadows: a graph is tied to a number that equals the casters'.
    least: ClassVar[tuple[int, int, int]] = (CASTERS[0] + 1, CASTERS[1] + 1, CASTERS[2] + 1)


def build_worlds(
    seeds: Sequence[int],
    dynamic: bool = False,
    palette: str = "mixed",
    saturation: float = 1.0,
    detail: str = "plain",
) -> Worlds:
    """The worlds of `seeds` as one batch on the CPU (float32).

    Raises `InputError` without a seed, or as `World`.
    """
    return assemble([World(int(seed), dynamic, palette, saturation, detail) for seed in seeds])


def assemble(worlds: Sequence[World]) -> Worlds:
    """The worlds as one batch on the CPU (float32).

    Raises `InputError` for no world, or worlds of several details.
    """
    if not worlds:
        raise InputError("worlds", "none", "at least one")
    details = {world.detail for world in worlds}
    if len(details) > 1:
        raise InputError("details of a batch of worlds", sorted(details), "only one")
    photo = details == {"photo"}
    layouts: dict[int, Layout] = {}
    attempt = 0
    while len(layouts) < len(worlds):
        pending = [index for index in range(len(worlds)) if index not in layouts]
        # Each attempt has a random stream of its own, so that a world does not depend on its batch.
        drafts = [worlds[index].draft(attempt) for index in pending]
        depths = _center_depths(drafts)
        for index, draft, depth in zip(pending, drafts, depths, strict=True):
            # The depth at the centre becomes exactly 1.
            layout = draft.scaled(1 / depth)
            if NEAREST_CENTER <= depth <= FARTHEST_CENTER and is_clear(layout):
                layouts[index] = worlds[index].animated(layout)
        attempt += 1
    packed = _pack([layouts[index] for index in range(len(worlds))], photo=photo)
    return packed.to(torch.float32)


def world_cameras(worlds: Worlds, width: int, height: int) -> Cameras:
    """The default camera of each world, with the identity as pose, on the worlds' device."""
    pose = torch.eye(4, dtype=worlds.focal.dtype, device=worlds.focal.device)
    focal = worlds.focal * width
    center = torch.tensor([width / 2, height / 2], dtype=focal.dtype, device=focal.device)
    intrinsics = torch.cat([focal[:, None].expand(-1, 2), center.expand(len(worlds), 2)], dim=1)
    return Cameras(pose.expand(len(worlds), 4, 4).clone(), intrinsics, width, height)


def _center_depths(layouts: Sequence[Layout]) -> list[float]:
    worlds = _pack(layouts)
    scene = worlds.at(torch.arange(len(worlds)), worlds.focal.new_zeros(len(worlds)))
    ahead = worlds.scene_from_world[:, :, 2].T
    return trace(scene, torch.zeros_like(ahead), ahead[..., None]).t[:, 0].tolist()


def _looks(placed: tuple[Solid, Motion]) -> float:
    """The size of a solid for the default camera."""
    solid = placed[0]
    away = math.hypot(solid.center[0], solid.center[2])
    return math.prod(solid.half) ** (1 / 3) / max(away, 0.5)


def _numbers(values: Sequence[object]) -> Float[Tensor, "..."]:
    return torch.tensor(values, dtype=torch.float64)


def _pack(layouts: Sequence[Layout], photo: bool = False) -> Worlds:
    """Layouts as tensors of float64; with `photo` the solids that look largest come first."""
    rows = [
        [[(s, m) for s, m in layout.placed() if s.shape == shape.name] for shape in SHAPES]
        for layout in layouts
    ]
    if photo:
        rows = [[sorted(solids, key=_looks, reverse=True) for solids in row] for row in rows]
    # Solids of one shape stand together, padded to as many as the fullest world has.
    made = PhotoWorlds if photo else Worlds
    boxes, cylinders, spheres = (
        max(made.least[kind], *(len(row[kind]) for row in rows)) for kind in range(3)
    )
    counts = (boxes, cylinders, spheres)
    nothing = [NOWHERE] * 3 + [-1.0] * 3 + [0.0] + STILL.row()
    blank = [0.0] * len(layouts[0].surroundings.shell.materials[0].row())
    entries, materials = [], []
    for layout, row in zip(layouts, rows, strict=True):
        shell, entry, paint = layout.surroundings.shell, [], []
        for count, solids in zip(counts, row, strict=True):
            entry += [[*s.center, *s.half, s.yaw, *m.row()] for s, m in solids]
            entry += [nothing] * (count - len(solids))
            paint += [s.material.row() for s, _ in solids] + [blank] * (count - len(solids))
        entries.append([*entry, [*shell.center, *shell.half, shell.yaw, *STILL.row()]])
        materials.append(paint + [material.row() for material in shell.materials])
        assert len(shell.materials) == SHELL_MATERIALS, f"{len(shell.materials)} materials"
    table = _numbers(entries)
    return made(
        counts=counts,
        center=table[..., :3],
        half=table[..., 3:6],
        yaw=table[..., 6],
        motion=table[..., 7:],
        dome=_numbers([layout.surroundings.shell.dome for layout in layouts]),
        materials=_numbers(materials).mT.contiguous(),
        light=_numbers([layout.surroundings.light.row() for layout in layouts]),
        scene_from_world=torch.from_numpy(
            np.stack([scene_from_world(layout.pitch) for layout in layouts])
        ),
        focal=_numbers([0.5 / math.tan(layout.field_of_view / 2) for layout in layouts]),
    )
