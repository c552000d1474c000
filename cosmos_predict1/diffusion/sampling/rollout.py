"""Generates a clip in pieces; each piece begins with the last frame of the one before.

A piece is as long as the weights can generate at once. In a still scene, the last frame of a piece
goes into the 3D cache, so that the next piece continues with what the cameras have shown.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.depth.backends.choice import DepthBackend
from src.io.image import to_uint8

from ..conditioning.cache import PointCache, SourceFrames, Warps
from ..conditioning.latents import augment_warps
from ..config import ClipSettings
from ..scenes.scene import Scene
from ..scenes.shots import Rig
from .pipeline import Gen3C, Piece
from .recipe import Context, SamplingPlan
from .sampler import Progress


@dataclass(frozen=True)
class PreparedScene:
    """A scene with the parts that all its trajectories share; `backend` finds depth of pieces."""

    scene: Scene
    cache: PointCache
    first: Float[Tensor, "1 channel 1 lh lw"]
    texts: tuple[Context, Context]
    backend: DepthBackend | None = None


@dataclass(frozen=True)
class RolledPiece:
    """A generated piece, its cameras, and the warps of all buffers side by side, holes black."""

    piece: Piece
    rig: Rig
    buffer: UInt8[Tensor, "frame h buffer_w 3"]


def roll_out(
    generator: Gen3C,
    prepared: PreparedScene,
    rig: Rig,
    settings: ClipSettings,
    plan: SamplingPlan,
    noise_aug_strength: float = 0.0,
    progress: Progress | None = None,
) -> Iterator[RolledPiece]:
    """Yield the pieces of a clip with the cameras of `rig`.

    `progress` is called after each sampling step. `noise_aug_strength` goes to `augment_warps`.
    """
    # A copy: frames that one trajectory inserts must not reach another.
    cache = copy.copy(prepared.cache)
    first, length, (first_seed,) = prepared.first, settings.piece_frames, plan.seeds
    for index in range(settings.pieces):
        start = index * (length - 1)
        cameras = rig[start : start + length]
        seed = (first_seed + index) % 2**32
        noise = torch.Generator(generator.device).manual_seed(seed)
        with generator.clock("warps"):
            seen = cache.render(cameras.intrinsics, cameras.w2c, start)
            seen = augment_warps(seen, noise_aug_strength, noise)
            latents, buffer = generator.warp_latents(seen), buffer_frames(seen)
        # 2 GB at full size, which sampling would otherwise keep on the GPU.
        del seen
        piece = generator.generate(
            first=first,
            warps=latents,
            texts=prepared.texts,
            plan=replace(plan, seeds=(seed,)),
            progress=progress,
        )
        yield RolledPiece(piece, cameras, buffer)
        if index + 1 < settings.pieces:
            first = generator.first_latent(piece.last_frame)
            if not cache.moving:
                assert prepared.backend is not None, "no depth for the next piece"
                cache.insert(_new_frame(piece, cameras[length - 1 :], prepared.backend))


def buffer_frames(warps: Warps) -> UInt8[Tensor, "frame h buffer_w 3"]:
    """Returns the warps of all buffers side by side, holes black, on the CPU."""
    shown = [
        to_uint8(image.where(mask[:, None], -1.0)).permute(0, 2, 3, 1)
        for image, mask in zip(warps.image, warps.mask, strict=True)
    ]
    return torch.cat(shown, dim=2).cpu()


def _new_frame(piece: Piece, camera: Rig, backend: DepthBackend) -> SourceFrames:
    """Returns the last frame of a piece with its depth, at the scale of the backend."""
    image = piece.last_frame
    estimate = backend((image + 1) / 2)
    depth, mask = estimate.depth[None], estimate.mask[None]
    return SourceFrames(
        image=image[None],
        depth=depth.to(image.device),
        intrinsics=camera.intrinsics,
        w2c=camera.w2c,
        mask=(mask & (depth > 0)).to(image.device),
    )
