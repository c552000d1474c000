"""Latents -> Gaussians -> pictures, and the unprojected input as a baseline.

Cameras are (trajectory, frame); the frames to render are listed for each trajectory.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.scenes.scene import Scene
from src.gaussians import Gaussians
from src.geometry.cameras import Cameras, invert_rigid
from src.models.data.example import Example, Targets
from src.models.recon.scene_decoder import SceneConditions, SceneDecoder
from src.rendering.options import RasterizeOptions
from src.rendering.rasterize import rasterize
from src.rendering.unprojected import unproject_picture

WHITE = (1.0, 1.0, 1.0)


def as_example(latents: Float[Tensor, "traj c latent_frame lh lw"], cameras: Cameras) -> Example:
    """Returns raw latents as an example, which the decoder otherwise reads from the disk."""
    nothing = torch.zeros(0, dtype=torch.long)
    targets = Targets(cameras[0][:0], nothing, nothing)
    names = tuple(str(number) for number in range(len(latents)))
    times = torch.linspace(0, 1, cameras.c2w.shape[1])
    return Example("held out", names, cameras, latents, None, times, None, targets)


def prepare_scene(
    decoder: SceneDecoder,
    latents: Float[Tensor, "traj c latent_frame lh lw"],
    cameras: Cameras,
    order: Sequence[int],
) -> SceneConditions:
    """Returns the decoder's input, from the trajectories in `order`."""
    chosen = torch.tensor(order, device=latents.device)
    raw = decoder.tokenizer.statistics.denormalise(latents[chosen])
    return decoder.prepare(as_example(raw, cameras[chosen]))


def farthest_frames(c2w: Float[Tensor, "traj frame 4 4"]) -> list[int]:
    """Returns the frame of each trajectory that is farthest from the first: circles close."""
    away = (c2w[:, :, :3, 3] - c2w[:, :1, :3, 3]).norm(dim=-1)
    return away.argmax(dim=1).tolist()


def render_frames(
    gaussians: Gaussians,
    cameras: Cameras,
    frames: Sequence[Sequence[int]],
    background: tuple[float, float, float] = WHITE,
) -> Float[Tensor, "traj 3 frame h w"]:
    """Returns pictures in [0, 1] at some frames of each trajectory, equally many."""
    c2w = torch.cat([cameras.c2w[path, at] for path, at in enumerate(frames)])
    lens = torch.cat([cameras.intrinsics[path, at] for path, at in enumerate(frames)])
    chosen = replace(cameras, c2w=c2w, intrinsics=lens)
    options = RasterizeOptions(background=background, depth=False)
    color = rasterize(gaussians, chosen, options).color
    return color.clamp(0, 1).unflatten(0, (len(frames), -1)).transpose(1, 2)


def unproject_gaussians(scene: Scene, frame: int = 0) -> Gaussians:
    """Returns a ball for each pixel of an input frame, at its depth and as large as the pixel."""
    source = scene.sources
    depth = source.depth[frame]
    return unproject_picture(
        image=(source.image[frame] + 1) / 2,
        depth=depth,
        mask=depth > 0 if source.mask is None else source.mask[frame],
        intrinsics=source.intrinsics[frame],
        c2w=invert_rigid(source.w2c[frame]),
    )


def mean_color(scene: Scene) -> tuple[float, float, float]:
    """Returns the mean colour of the first frame, for a background less glaring than white."""
    red, green, blue = ((scene.sources.image[0] + 1) / 2).mean(dim=(1, 2)).tolist()
    return red, green, blue
