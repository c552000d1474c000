"""The seam of rasterisation: gsplat's CUDA kernels or the pure-torch twin, one signature.

Both follow gsplat 1.5.3: pinhole cameras, 16-pixel tiles, classic mode, blur 0.3, no spherical
harmonics. Rendering is float32, whatever autocast says around it.
"""

from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras
from ..runtime import InputError
from .options import DEFAULTS, RasterizeOptions
from .reference import rasterize_torch
from .render import Render

Backend = Literal["auto", "cuda", "torch"]

# Frames x Gaussians of one kernel launch, which bounds the memory of its lists.
SPLATS_PER_CALL = 2**22


def choose_backend(device: torch.device, backend: Backend = "auto") -> Literal["cuda", "torch"]:
    """The backend that renders tensors on `device`: what was asked for, or gsplat if it can.

    Raises:
        InputError: where "cuda" was asked for, but the tensors or the package don't allow it.
    """
    installed = find_spec("gsplat") is not None
    if backend == "cuda":
        if device.type != "cuda":
            raise InputError("rasterize backend 'cuda'", f"tensors on {device}", "CUDA tensors")
        if not installed:
            raise InputError("rasterize backend 'cuda'", "no gsplat", "the package gsplat>=1.5.3")
    if backend == "auto":
        return "cuda" if device.type == "cuda" and installed else "torch"
    return backend


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    options: RasterizeOptions = DEFAULTS,
    backend: Backend = "auto",
) -> Render:
    """Render one set of Gaussians for a batch of cameras.

    Differentiable in the Gaussians, not in the cameras. In mode "3dgut" no gradient passes the
    depth of the means, only the blending weights.
    """
    assert gaussians.means.ndim == 2, f"one set expected, got {tuple(gaussians.means.shape)}"
    assert cameras.c2w.ndim == 3, f"cameras [frame] expected, got {tuple(cameras.c2w.shape)}"
    scene = gaussians.map(lambda part: part[None])
    return rasterize_scenes(scene, Cameras.stack([cameras]), options, backend)


def rasterize_scenes(
    gaussians: Gaussians,
    cameras: Cameras,
    options: RasterizeOptions = DEFAULTS,
    backend: Backend = "auto",
) -> Render:
    """Render scenes of equally many Gaussians, each for its own, equally many cameras.

    The same as `rasterize` of one after the other, with fewer launches on a GPU. `cameras` are
    those of (scene, frame); the frames of the result are in that order, one after the other.
    """
    assert gaussians.means.ndim == 3, f"scenes expected, got {tuple(gaussians.means.shape)}"
    shape = tuple(cameras.c2w.shape[:-2])
    assert shape[:-1] == (len(gaussians.means),) and shape[-1] > 0, f"cameras of {shape}"
    chosen = choose_backend(gaussians.device, backend)
    cameras = Cameras(
        cameras.c2w.detach(), cameras.intrinsics.detach(), cameras.width, cameras.height
    )
    with torch.autocast(gaussians.device.type, enabled=False):
        gaussians = gaussians.to(torch.float32)
        # Nothing to launch a kernel on: the twin keeps the background and the graph.
        if chosen == "torch" or len(gaussians) == 0:
            scenes = [gaussians.map(lambda part, i=i: part[i]) for i in range(shape[0])]
            return Render.concatenate(
                [rasterize_torch(scene, cameras[i], options) for i, scene in enumerate(scenes)]
            )
        return _rasterize_gsplat(gaussians, cameras, options)


def _rasterize_gsplat(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """Render with gsplat, as many scenes in a call as fit, and several frames of each."""
    scenes = max(1, SPLATS_PER_CALL // len(gaussians))
    if scenes < len(gaussians.means):
        groups = [slice(at, at + scenes) for at in range(0, len(gaussians.means), scenes)]
        parts = [gaussians.map(lambda part, group=group: part[group]) for group in groups]
        return Render.concatenate(
            [
                _rasterize_gsplat(part, cameras[group], options)
                for part, group in zip(parts, groups, strict=True)
            ]
        )
    frames = max(1, SPLATS_PER_CALL // (len(gaussians) * len(gaussians.means)))
    # float64: the inversion must not fall to TF32.
    exact = cameras.to(torch.float64)
    w2c, K = exact.w2c.float(), exact.K.float()
    size = (cameras.width, cameras.height)
    call = _gsplat_ewa if options.mode == "ewa" else _gsplat_3dgut
    calls = [
        call(gaussians, part_w2c, part_K, size, options)
        for part_w2c, part_K in zip(w2c.split(frames, 1), K.split(frames, 1), strict=True)
    ]
    pictures = (torch.cat(part, 1) for part in zip(*calls, strict=True))
    color, alpha, depth = (picture.flatten(0, 1).movedim(-1, 1) for picture in pictures)
    return Render(color, alpha, depth)


_Pictures = tuple[
    Float[Tensor, "scene frame height width 3"],
    Float[Tensor, "scene frame height width 1"],
    Float[Tensor, "scene frame height width 1"],
]


def _gsplat_ewa(
    gaussians: Gaussians,
    w2c: Float[Tensor, "scene frame 4 4"],
    K: Float[Tensor, "scene frame 3 3"],
    size: tuple[int, int],
    options: RasterizeOptions,
) -> _Pictures:
    """Colour, alpha and depth of one call."""
    from gsplat import rasterization

    pictures, alpha, _ = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors,
        w2c,
        K,
        *size,
        near_plane=options.near,
        far_plane=options.far,
        packed=False,
        backgrounds=w2c.new_tensor(options.background).expand(*w2c.shape[:2], 3).contiguous(),
        render_mode="RGB+ED" if options.depth else "RGB",
    )
    depth = pictures[..., 3:] if options.depth else torch.zeros_like(alpha)
    return pictures[..., :3], alpha, depth


def _gsplat_3dgut(
    gaussians: Gaussians,
    w2c: Float[Tensor, "scene frame 4 4"],
    K: Float[Tensor, "scene frame 3 3"],
    size: tuple[int, int],
    options: RasterizeOptions,
) -> _Pictures:
    """Colour and alpha of one call, depth of another.

    The released kernels that work in 3D abort the process for other than three channels, so depth
    is rendered as a grey colour and divided by alpha here.
    """
    from gsplat import rasterization

    def render(
        colors: Float[Tensor, "scene *frame gaussian 3"], background: tuple[float, float, float]
    ) -> tuple[
        Float[Tensor, "scene frame height width 3"], Float[Tensor, "scene frame height width 1"]
    ]:
        """The Gaussians in `colors`, and their alpha."""
        pictures, alpha, _ = rasterization(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            colors,
            w2c,
            K,
            *size,
            near_plane=options.near,
            far_plane=options.far,
            packed=False,
            backgrounds=w2c.new_tensor(background).expand(*w2c.shape[:2], 3).contiguous(),
            with_ut=True,
            with_eval3d=True,
        )
        return pictures, alpha

    color, alpha = render(gaussians.colors, options.background)
    if not options.depth:
        return color, alpha, torch.zeros_like(alpha)
    # A sum of products, not a matrix product: those may run in TF32.
    row = w2c[:, :, None, 2]
    z = (gaussians.means.detach()[:, None] * row[..., :3]).sum(-1) + row[..., 3]
    weighted, weight = render(z[..., None].expand(-1, -1, -1, 3), (0.0, 0.0, 0.0))
    return color, alpha, weighted[..., :1] / weight.clamp(min=1e-10)
