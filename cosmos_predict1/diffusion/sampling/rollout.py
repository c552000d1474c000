"""A clip, piece by piece: each begins with the last frame of the one before it.

A piece is as long as the weights can do at once. Of a still scene, the last frame of a piece is put
into the 3D cache, so that the next piece shows the same things behind the camera's way.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.depth.backends.choice import DepthBackend
from src.io.image.pixels import to_uint8

from ..conditioning.cache import PointCache, SourceFrames, Warps
from ..conditioning.latents import augment_warps
from ..config import ClipSettings
from ..scenes.scene import Scene
from ..scenes.shots import Rig
from .pipeline import Context, Gen3C, Piece, SamplingPlan


@dataclass(frozen=True)
class PreparedScene:
    """What the trajectories of a scene share: points, first frame, prompts, depth of new frames."""

    scene: Scene
    cache: PointCache
    first: Float[Tensor, "1 channel 1 lh lw"]
    texts: tuple[Context, Context]
    backend: DepthBackend | None = None


@dataclass(frozen=True)
class RolledPiece:
    """A generated piece, the cameras of its frames, and the warps that it was made from.

    `buffer` shows the warps of all buffers side by side, holes black.
    """

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
    progress: Callable[[int, Tensor], None] | None = None,
) -> Iterator[RolledPiece]:
    """The pieces of a clip with the cameras of `rig`, one after another.

    `progress` is called after each sampling step. `noise_aug_strength` goes to `augment_warps`.
    """
    # Frames that one trajectory inserts are nothing to another one.
    cache = copy.copy(prepared.cache)
    first, length = prepared.first, settings.piece_frames
    for index in range(settings.pieces):
        start = index * (length - 1)
        cameras = rig[start : start + length]
        seed = (plan.seed + index) % 2**32
        noise = torch.Generator(generator.device).manual_seed(seed)
        seen = cache.render(cameras.intrinsics, cameras.w2c, start)
        seen = augment_warps(seen, noise_aug_strength, noise)
        latents, buffer = generator.warp_latents(seen), buffer_frames(seen)
        # At full size 2 GB, which would wait on the GPU for the end of the sampling.
        del seen
        piece = generator.generate(
            first, latents, prepared.texts, replace(plan, seed=seed), progress
        )
        yield RolledPiece(piece, cameras, buffer)
        if index + 1 < settings.pieces:
            first = generator.first_latent(piece.last_frame)
            if not cache.moving:
                assert prepared.backend is not None, "no depth for the next piece"
                cache.insert(_new_frame(piece, cameras[length - 1 :], prepared.backend))


def buffer_frames(warps: Warps) -> UInt8[Tensor, "frame h buffer_w 3"]:
    """The warps of all buffers side by side, holes black, on the CPU."""
    shown = [
        to_uint8(image.where(mask[:, None], -1.0)).permute(0, 2, 3, 1).cpu()
        for image, mask in zip(warps.image, warps.mask, strict=True)
    ]
    return torch.cat(shown, dim=2)


def _new_frame(piece: Piece, camera: Rig, backend: DepthBackend) -> SourceFrames:
    """The last frame of a piece with its depth, at its own scale."""
    image = piece.last_frame
    estimate = backend((image + 1) / 2)
    depth, mask = estimate.depth[None], estimate.mask[None]
    return SourceFrames(
        image[None],
        depth.to(image.device),
        camera.intrinsics,
        camera.w2c,
        (mask & (depth > 0)).to(image.device),
    )
