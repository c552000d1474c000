"""The entry to rasterisation: gsplat's CUDA kernels or the pure-torch twin, one signature.

Both follow gsplat 1.5.3: pinhole cameras, 16-pixel tiles, classic mode, blur 0.3, no spherical
harmonics. Rendering is float32, under autocast too.
"""

from importlib.util import find_spec
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras
from ..runtime import InputError
from .options import DEFAULTS, RasterizeOptions, Render
from .reference import rasterize_torch
from .tiles import TILE

# Colour, alpha and depth.
Pictures = tuple[
    Float[Tensor, "scene frame height width 3"],
    Float[Tensor, "scene frame height width 1"],
    Float[Tensor, "scene frame height width 1"],
]
Backend = Literal["auto", "cuda", "torch"]

# Frames x Gaussians of one kernel launch, which bounds the memory of its lists.
SPLATS_PER_CALL = 2**22


def choose_backend(device: torch.device, backend: Backend = "auto") -> Literal["cuda", "torch"]:
    """The backend for tensors on `device`; `auto` is gsplat where it can run.

    Raises `InputError` for "cuda" without CUDA tensors or without gsplat.
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


def load_kernels(device: torch.device, backend: Backend = "auto") -> None:
    """Loads gsplat's kernels where they are chosen, so that the first frame need not wait."""
    if choose_backend(device, backend) == "cuda":
        import gsplat.cuda._backend  # noqa: F401


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    options: RasterizeOptions = DEFAULTS,
    backend: Backend = "auto",
) -> Render:
    """Render one set of Gaussians for a batch of cameras.

    Differentiable in the Gaussians, not in the cameras. In mode "3dgut" the blending weights alone
    carry gradients, not the depth of the means.
    """
    assert gaussians.means.ndim == 2, f"one set expected, got {tuple(gaussians.means.shape)}"
    assert cameras.c2w.ndim == 3, f"cameras [frame] expected, got {tuple(cameras.c2w.shape)}"
    scene = gaussians.map(lambda part: part[None])
    return rasterize_scenes(scene, Cameras.stack([cameras]), options, backend=backend)


def rasterize_scenes(
    gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions, backend: Backend = "auto"
) -> Render:
    """Render scenes of equally many Gaussians, each for its own, equally many cameras.

    Equal to `rasterize` of one scene after the other, with fewer launches on a GPU. `cameras` has
    the batch shape (scene, frame); the frames of the result follow each other in that order.
    """
    assert gaussians.means.ndim == 3, f"scenes expected, got {tuple(gaussians.means.shape)}"
    shape = tuple(cameras.c2w.shape[:-2])
    assert shape[:-1] == (len(gaussians.means),) and shape[-1] > 0, f"cameras of {shape}"
    chosen = choose_backend(gaussians.device, backend)
    cameras = Cameras(
        c2w=cameras.c2w.detach(),
        intrinsics=cameras.intrinsics.detach(),
        width=cameras.width,
        height=cameras.height,
    )
    with torch.autocast(gaussians.device.type, enabled=False):
        gaussians = gaussians.to(torch.float32)
        # gsplat has no launch of zero Gaussians: the twin keeps the background and the graph.
        if chosen == "torch" or len(gaussians) == 0:
            scenes = [gaussians.map(lambda part, i=i: part[i]) for i in range(shape[0])]
            return Render.concatenate(
                [rasterize_torch(scene, cameras[i], options) for i, scene in enumerate(scenes)]
            )
        return _rasterize_gsplat(gaussians, cameras, options)


def rasterize_deferred(
    gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions = DEFAULTS
) -> Render:
    """Pictures and gradients of `rasterize` in the memory of one frame; renders each twice."""
    exact = gaussians.to(torch.float32)
    parameters = (exact.means, exact.opacities, exact.scales, exact.quats, exact.colors)
    color, alpha, depth = _Deferred.apply(cameras, options, *parameters)
    return Render(color, alpha, depth)


class _Deferred(torch.autograd.Function):
    """Renders frame by frame without a graph, then frame by frame with one."""

    @staticmethod
    def forward(
        ctx: Any, cameras: Cameras, options: RasterizeOptions, *parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, alpha and depth of all frames."""
        ctx.save_for_backward(*parameters)
        ctx.cameras, ctx.options = cameras, options
        gaussians = Gaussians(*(tensor.detach() for tensor in parameters))
        frames = [
            rasterize(gaussians, cameras[index : index + 1], options)
            for index in range(len(cameras))
        ]
        pictures = Render.concatenate(frames)
        return pictures.color, pictures.alpha, pictures.depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the Gaussians' parameters, where they are needed."""
        needed = ctx.needs_input_grad[2:]
        leaves = [
            tensor.detach().requires_grad_(need)
            for tensor, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        # All frames share the leaves, in which their gradients add up.
        for index in range(len(ctx.cameras)):
            camera = ctx.cameras[index : index + 1]
            with torch.enable_grad():
                frame = rasterize(Gaussians(*leaves), camera, ctx.options)
            pictures = (frame.color, frame.alpha, frame.depth)
            # Without the option `depth`, depth is a constant.
            wanted = [number for number in range(3) if pictures[number].requires_grad]
            torch.autograd.backward(
                [pictures[number] for number in wanted],
                [upstream[number][index : index + 1] for number in wanted],
            )
        return None, None, *(leaf.grad for leaf in leaves)


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
    calls = [
        _call_gsplat(gaussians, w2c=part_w2c, K=part_K, size=size, options=options)
        for part_w2c, part_K in zip(w2c.split(frames, 1), K.split(frames, 1), strict=True)
    ]
    pictures = (torch.cat(part, 1) for part in zip(*calls, strict=True))
    color, alpha, depth = (picture.flatten(0, 1).movedim(-1, 1) for picture in pictures)
    return Render(color, alpha, depth)


def _call_gsplat(
    gaussians: Gaussians,
    w2c: Float[Tensor, "scene frame 4 4"],
    K: Float[Tensor, "scene frame 3 3"],
    size: tuple[int, int],
    options: RasterizeOptions,
) -> Pictures:
    """Colour, alpha and depth."""
    from gsplat import rasterization

    if options.mode == "3dgut":
        return _call_3dgut(gaussians, w2c, K, size=size, options=options)
    color, alpha, _ = rasterization(
        means=gaussians.means,
        quats=gaussians.quats,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=gaussians.colors,
        viewmats=w2c,
        Ks=K,
        width=size[0],
        height=size[1],
        near_plane=options.near,
        far_plane=options.far,
        packed=False,
        backgrounds=_background(w2c, options.background),
        render_mode="RGB+ED" if options.depth else "RGB",
    )
    return color[..., :3], alpha, color[..., 3:] if options.depth else torch.zeros_like(alpha)


def _call_3dgut(
    gaussians: Gaussians,
    w2c: Float[Tensor, "scene frame 4 4"],
    K: Float[Tensor, "scene frame 3 3"],
    size: tuple[int, int],
    options: RasterizeOptions,
) -> Pictures:
    """Colour, alpha and depth from one projection and one sorting.

    The steps of gsplat's `rasterization`. Its blending kernel aborts the process for other than
    three channels: a second launch blends depth as a grey colour, which is divided by alpha here.
    """
    from gsplat import (
        fully_fused_projection_with_ut,
        isect_offset_encode,
        isect_tiles,
        rasterize_to_pixels_eval3d,
    )

    width, height = size
    shape, rows, columns = w2c.shape[:2], -(-height // TILE), -(-width // TILE)
    geometry = (gaussians.means, gaussians.quats, gaussians.scales)
    radii, means2d, z, *_ = fully_fused_projection_with_ut(
        *geometry,
        gaussians.opacities,
        w2c,
        K,
        width,
        height,
        near_plane=options.near,
        far_plane=options.far,
    )
    _, keys, ids = isect_tiles(means2d, radii, z, TILE, columns, rows)
    starts = isect_offset_encode(keys, shape.numel(), columns, rows)
    starts = starts.reshape(*shape, rows, columns)
    opacities = gaussians.opacities[:, None].expand(*shape, -1)

    def blend(
        colors: Float[Tensor, "scene frame gaussian 3"], background: tuple[float, float, float]
    ) -> tuple[Float[Tensor, "scene frame height width 3"], Tensor]:
        """The Gaussians in `colors`, and their alpha."""
        return rasterize_to_pixels_eval3d(
            *geometry,
            colors,
            opacities,
            w2c,
            K,
            width,
            height,
            TILE,
            starts,
            ids,
            backgrounds=_background(w2c, background),
        )

    color, alpha = blend(gaussians.colors[:, None].expand(*shape, -1, -1), options.background)
    if not options.depth:
        return color, alpha, torch.zeros_like(alpha)
    # A sum of products, not a matrix product: those may run in TF32.
    row = w2c[:, :, None, 2]
    z = (gaussians.means.detach()[:, None] * row[..., :3]).sum(-1) + row[..., 3]
    weighted, weight = blend(z[..., None].expand(-1, -1, -1, 3), (0.0, 0.0, 0.0))
    return color, alpha, weighted[..., :1] / weight.clamp(min=1e-10)


def _background(
    w2c: Float[Tensor, "scene frame 4 4"], color: tuple[float, float, float]
) -> Float[Tensor, "scene frame 3"]:
    return w2c.new_tensor(color).expand(*w2c.shape[:2], 3).contiguous()
