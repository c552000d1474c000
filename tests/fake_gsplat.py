"""A module with gsplat's signatures and conventions that renders with the twin, on any machine."""

from types import ModuleType

import torch
from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras, invert_rigid, matrix_to_intrinsics
from src.rendering.options import RasterizeOptions
from src.rendering.projection import footprint_ut, to_camera_space
from src.rendering.reference import rasterize_torch


def _cameras(viewmats: Tensor, Ks: Tensor, width: int, height: int) -> Cameras:
    return Cameras(invert_rigid(viewmats), matrix_to_intrinsics(Ks), width, height)


def _twin_pictures(
    scene: tuple[Tensor, ...], cameras: Cameras, options: RasterizeOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, alpha and depth [scene, frame, h, w, c] of means, opacities, scales, quats, colors.

    Opacities are [scene, frame, gaussian], colours [scene, frame, gaussian, 3].
    """
    means, opacities, scales, quats, colors = scene
    scenes, frames = cameras.c2w.shape[:2]
    rendered = [
        rasterize_torch(
            Gaussians(means[i], opacities[i, j], scales[i], quats[i], colors[i, j]),
            cameras[i][j : j + 1],
            options,
        )
        for i in range(scenes)
        for j in range(frames)
    ]
    color, alpha, depth = (
        torch.cat([getattr(frame, name) for frame in rendered])
        .movedim(1, -1)
        .unflatten(0, (scenes, frames))
        for name in ("color", "alpha", "depth")
    )
    return color, alpha, depth


class GsplatFromTheTwin(ModuleType):
    """A module with gsplat's signatures and conventions that renders with the twin."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__("gsplat")
        self.calls = calls

    def rasterization(
        self,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        near_plane: float,
        far_plane: float,
        packed: bool,
        backgrounds: Tensor,
        render_mode: str,
    ) -> tuple[Tensor, Tensor, dict]:
        """EWA splatting."""
        scenes, frames = viewmats.shape[:2]
        assert not packed and backgrounds.shape == (scenes, frames, 3)
        self.calls.append(f"{render_mode} {scenes}x{frames}")
        options = RasterizeOptions(
            mode="ewa",
            background=tuple(backgrounds[0, 0].tolist()),
            near=near_plane,
            far=far_plane,
        )
        each = (opacities[:, None].expand(-1, frames, -1), scales, quats)
        scene = (means, *each, colors[:, None].expand(-1, frames, -1, -1))
        color, alpha, depth = _twin_pictures(scene, _cameras(viewmats, Ks, width, height), options)
        return torch.cat([color, depth], -1) if render_mode == "RGB+ED" else color, alpha, {}

    def fully_fused_projection_with_ut(
        self,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        near_plane: float,
        far_plane: float,
    ) -> tuple[Tensor | None, ...]:
        """Boxes by the twin's projection; values of invisible splats are rubbish."""
        scenes, frames = viewmats.shape[:2]
        self.calls.append(f"project {scenes}x{frames}")
        cameras = _cameras(viewmats, Ks, width, height).to(torch.float64)
        parts = [
            tensor[:, None].expand(-1, frames, *tensor.shape[1:]).detach().double()
            for tensor in (means, opacities, scales, quats)
        ]
        gaussians = Gaussians(*parts, colors=torch.zeros_like(parts[0]))
        options = RasterizeOptions(near=near_plane, far=far_plane)
        seen = to_camera_space(gaussians, cameras.w2c[:, :, None], cameras.intrinsics[:, :, None])
        boxes = footprint_ut(seen, (width, height), options)
        shown = boxes.visible[..., None]
        radii = torch.where(shown, boxes.radius, 0).int()
        center = torch.where(shown, boxes.center, torch.nan).float()
        return radii, center, boxes.depth.float(), None, None

    def isect_tiles(
        self,
        means2d: Tensor,
        radii: Tensor,
        depths: Tensor,
        tile_size: int,
        tile_width: int,
        tile_height: int,
    ) -> tuple[None, Tensor, Tensor]:
        """The lists; their starts pass for the keys."""
        assert tile_size == 16
        self.calls.append("sort")
        ids: list[int] = []
        starts: list[int] = []
        splats = depths.shape[-1]
        boxes = (means2d.flatten(0, -3), radii.flatten(0, -3), depths.flatten(0, -2))
        for frame, (center, radius, depth) in enumerate(zip(*boxes, strict=True)):
            shown = (radius > 0).all(-1)
            for tile in range(tile_height * tile_width):
                starts.append(len(ids))
                low = 16 * torch.tensor([tile % tile_width, tile // tile_width])
                near = (center + radius > low) & (center - radius < low + 16)
                found = (near.all(-1) & shown).nonzero()[:, 0]
                found = found[depth[found].sort(stable=True).indices]
                ids += (frame * splats + found).tolist()
        return None, torch.tensor(starts), torch.tensor(ids, dtype=torch.int32)

    def isect_offset_encode(
        self, isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int
    ) -> Tensor:
        """The starts, with a single dimension for all frames."""
        return isect_ids.reshape(n_images, tile_height, tile_width)

    def rasterize_to_pixels_eval3d(
        self,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        colors: Tensor,
        opacities: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        image_width: int,
        image_height: int,
        tile_size: int,
        isect_offsets: Tensor,
        flatten_ids: Tensor,
        backgrounds: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """3DGUT of the Gaussians in the lists."""
        shape, splats = viewmats.shape[:2], means.shape[1]
        assert colors.shape == (*shape, splats, 3), "the kernel aborts for other shapes"
        assert opacities.shape == (*shape, splats) and backgrounds.shape == (*shape, 3)
        size = (-(-image_height // tile_size), -(-image_width // tile_size))
        assert isect_offsets.shape == (*shape, *size)
        self.calls.append(f"blend {shape[0]}x{shape[1]}")
        listed = torch.zeros(opacities.numel(), dtype=torch.bool)
        listed[flatten_ids.long()] = True
        # The kernel knows neither near nor far.
        options = RasterizeOptions(background=tuple(backgrounds[0, 0].tolist()), near=1e-3, far=1e9)
        opacities = torch.where(listed.view_as(opacities), opacities, 0)
        cameras = _cameras(viewmats, Ks, image_width, image_height)
        scene = (means, opacities, scales, quats, colors)
        color, alpha, _ = _twin_pictures(scene, cameras, options)
        return color, alpha
