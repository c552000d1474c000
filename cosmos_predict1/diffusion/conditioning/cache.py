"""The 3D cache: the points of frames seen so far, and their warps to the next cameras.

A buffer is a frame whose pixels have a place in the world. Images are in [-1, 1], depth is z-depth
in world units, pixel centres lie at integer coordinates (see `src/geometry/warping.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from src.depth.alignment import align_non_rigid, align_rigid
from src.depth.estimate import clamp_depth
from src.geometry.warping import PAIR, PointFrames, Warp, point_frames, warp_frames
from src.runtime import InputError

# The distance of farther points, and of pixels without a known depth, as published.
FARTHEST_DEPTH = 100.0


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """How frames become points and points become warps; the defaults are the published values.

    Attributes:
        threshold: of the reliability filter; 1 or more turns it off.
        foreground_masking: background does not show through the edges of the foreground.
        buffers: how many frames of a still scene are kept at most.
        drop_invalid: pixels without depth hide no others, and are not warped without a filter
            either. The published program lets them do both.
    """

    threshold: float = 0.05
    foreground_masking: bool = True
    buffers: int = 2
    drop_invalid: bool = False

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise InputError("filter_points_threshold", self.threshold, "a number > 0")
        if self.buffers < 1:
            raise InputError("buffers of the 3D cache", self.buffers, "at least 1")


@dataclass(frozen=True)
class SourceFrames:
    """Frames with depth and cameras, before they become points."""

    image: Float[Tensor, "frame 3 h w"]
    depth: Float[Tensor, "frame h w"]
    intrinsics: Float[Tensor, "frame 4"]
    w2c: Float[Tensor, "frame 4 4"]
    mask: Bool[Tensor, "frame h w"] | None = None  # pixels that may become points; None: all

    def __len__(self) -> int:
        return len(self.image)

    def apply(self, change: Callable[[Tensor], Tensor]) -> "SourceFrames":
        """Returns the frames with every tensor changed by `change`."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{name: change(part) for name, part in parts.items()})


@dataclass(frozen=True)
class Warps:
    """Warps of every buffer to consecutive target frames, newest buffer first."""

    image: Float[Tensor, "buffer frame 3 h w"]  # -1 in holes
    mask: Bool[Tensor, "buffer frame h w"]
    depth: Float[Tensor, "buffer frame h w"]  # 0 in holes


class PointCache:
    """Points of a still scene (one frame, more inserted later) or of a moving one."""

    def __init__(
        self,
        sources: SourceFrames,
        settings: CacheSettings | None = None,
        *,
        moving: bool = False,
        at_once: int = 0,
    ) -> None:
        """Lift `sources` into the world.

        A still scene starts with one frame, which all targets see. In a `moving` one, target frame
        i sees source frame i. With `at_once`, an even number, that many frames of a moving scene
        are lifted at a time, on the cameras' device; `sources` may be elsewhere.
        """
        assert moving or len(sources) == 1, f"a still scene starts with 1 frame, not {len(sources)}"
        assert at_once % PAIR == 0 and (moving or not at_once), f"{at_once} frames at once"
        self.settings = settings or CacheSettings()
        self.moving = moving
        self._at_once, self._sources = at_once, sources if at_once else None
        # Of a scene that is lifted in parts, its first frame alone.
        self._points = self._lift(sources.apply(lambda part: part[:1]) if at_once else sources)

    @property
    def buffers(self) -> int:
        """How many frames a target sees at once."""
        return 1 if self.moving else len(self._points.points)

    def render(
        self,
        intrinsics: Float[Tensor, "frame 4"],
        w2c: Float[Tensor, "frame 4 4"],
        start: int = 0,
    ) -> Warps:
        """Returns the warps for consecutive cameras, at the size of the sources.

        The first camera is frame `start` of the clip, which chooses the source frames of a moving
        scene. Consecutive pictures, buffers of a frame side by side, are blended in pairs that
        begin with the first camera given here (see `splat`).
        """
        count, buffers = len(w2c), self.buffers
        points = self._points
        if self.moving:
            available = len(self._sources or points.points)
            if start < 0 or start + count > available:
                value = f"frames {start} to {start + count - 1}"
                raise InputError("targets of a moving scene", value, f"frames below {available}")
            if self._sources is not None:
                return self._render_parts(self._sources, intrinsics, w2c, start)
            points = _select(points, slice(start, start + count))
        warp = warp_frames(
            points,
            intrinsics.repeat_interleave(buffers, dim=0),
            w2c.repeat_interleave(buffers, dim=0),
            drop_invalid=self.settings.drop_invalid,
        )
        image, mask, depth = (
            part.unflatten(0, (count, buffers)).transpose(0, 1)
            for part in (warp.image, warp.mask, warp.depth)
        )
        return Warps(image, mask, depth)

    def _render_parts(
        self,
        sources: SourceFrames,
        intrinsics: Float[Tensor, "frame 4"],
        w2c: Float[Tensor, "frame 4 4"],
        start: int,
    ) -> Warps:
        """`render` of a moving scene, a few frames at a time; its pairs are those of the whole."""
        device, parts = w2c.device, []
        cut = sources.apply(lambda part: part[start : start + len(w2c)])
        for first in range(0, len(w2c), self._at_once):
            near = slice(first, first + self._at_once)
            chosen = cut.apply(lambda part, near=near: part[near].to(device))
            cache = PointCache(chosen, self.settings, moving=True)
            parts.append(cache.render(intrinsics[near], w2c[near]))
        joined = {
            name: torch.cat([vars(part)[name] for part in parts], 1) for name in vars(parts[0])
        }
        return Warps(**joined)

    def insert(
        self, frame: SourceFrames, alignment: Literal["rigid", "non_rigid"] = "non_rigid"
    ) -> None:
        """Add one frame, its depth aligned to what the cache shows at its camera.

        The new buffer comes first. In a full cache it replaces the newest, so that the original
        frame stays. Raises `InputError` where the cache shows too little to align with.
        """
        assert not self.moving and len(frame) == 1, f"{len(frame)} frames, moving {self.moving}"
        known = self._known(frame)
        depth = clamp_depth(frame.depth[0], FARTHEST_DEPTH)
        if alignment == "rigid":
            depth = align_rigid(depth, known.depth[0], known.mask[0])
        else:
            depth = align_non_rigid(
                depth, known.depth[0], known.mask[0], frame.intrinsics[0], frame.w2c[0]
            )
        kept = self._points
        if self.buffers >= self.settings.buffers:
            kept = _select(kept, slice(1, None))
        self._points = _concatenate(self._lift(replace(frame, depth=depth[None])), kept)

    def _known(self, frame: SourceFrames) -> Warp:
        """Returns the nearest surface that any buffer shows at the frame's camera."""
        warps = self.render(frame.intrinsics, frame.w2c)
        depth = warps.depth.where(warps.mask, torch.inf).amin(dim=0)
        mask = warps.mask.any(dim=0)
        return Warp(warps.image[0], mask, depth.where(mask, 0))

    def _lift(self, sources: SourceFrames) -> PointFrames:
        masked = self.settings.drop_invalid or self.settings.threshold < 1
        return point_frames(
            image=sources.image,
            # Float64 for targets that stand at their source, see `lift`.
            depth=clamp_depth(sources.depth, FARTHEST_DEPTH).double(),
            intrinsics=sources.intrinsics,
            w2c=sources.w2c,
            threshold=self.settings.threshold,
            mask=sources.mask if masked else None,
            foreground_masking=self.settings.foreground_masking,
        )


def center_depth(depth: Float[Tensor, "*batch h w"], *, published: bool = False) -> float:
    """Returns the depth about which trajectories turn: the median of the first frame.

    The median is over the positive depths; `published` takes it over all pixels, with those
    without depth as zeros.
    """
    first = depth.reshape(-1, *depth.shape[-2:])[0].flatten()
    valid = first if published else first[first.isfinite() & (first > 0)]
    if not len(valid):
        raise InputError("depth of the first frame", "no pixel with a depth", "one or more")
    # `Tensor.median` would take the lower of the two middle values of an even number.
    middle = valid.sort().values[[(len(valid) - 1) // 2, len(valid) // 2]]
    return middle.mean().item()


def _select(points: PointFrames, chosen: slice) -> PointFrames:
    parts = {name: part for name, part in vars(points).items() if part is not None}
    return replace(points, **{name: part[chosen] for name, part in parts.items()})


def _concatenate(first: PointFrames, second: PointFrames) -> PointFrames:
    parts = dict(vars(first))
    for name, part in parts.items():
        other = getattr(second, name)
        assert (part is None) == (other is None), f"frames with and without {name}"
        if part is not None:
            parts[name] = torch.cat([part, other])
    return PointFrames(**parts)
