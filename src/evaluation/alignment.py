"""Camera errors of generated frames, in pixels: by the best camera, and by the shifts of windows.

Both align a frame with a reference by least squares on blurred grey values (Lucas and Kanade 1981):
`frame(u) = reference(u + d(u))`, where the displacement d has few parameters.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

ITERATIONS = 3
# Standard deviation of the blur in pixels, and its radius.
BLUR, RADIUS = 1.5, 4
# Side of a window in pixels, the part of it that must be compared, and the longest shift.
WINDOW, COVERED, LONGEST = 16, 0.9, 4.0
# Least curvature of a window's error in its weakest direction: flat windows have no shift.
TEXTURED = 3e-5

Frames = Float[Tensor, "frame 3 h w"]
Masks = Bool[Tensor, "frame h w"]


def camera_errors(
    frames: Frames,
    reference: Frames,
    depth: Float[Tensor, "frame h w"],
    intrinsics: Float[Tensor, "4"],
    mask: Masks,
) -> Float[Tensor, " frame"]:
    """Returns the camera error of each frame: how far its camera moves the reference's pixels.

    The camera is that small motion (3 rotations, 3 translations) from the reference's which makes
    the reference, with its exact depth, most like the frame. The error is the root mean square of
    the displacement that it causes, over the pixels of `mask`.

    Args:
        frames: RGB in [0, 1], as `reference`.
        reference: the true frames.
        depth: camera z of the true frames, positive.
        intrinsics: fx fy cx cy in pixels.
        mask: the pixels to align by.
    """
    fields = _motion_fields(depth, intrinsics)
    motion = fields.new_zeros(len(frames), fields.shape[1])
    grey, target = _grey(frames, mask), _grey(reference, mask)
    for _ in range(ITERATIONS):
        moved = (motion[:, :, None, None, None] * fields).sum(dim=1)
        aligned, inside = _sample(target, moved)
        slopes = (_gradient(aligned)[:, None] * fields).sum(dim=2)
        weight, rest = (mask & inside).float(), grey - aligned
        scale = (rest.abs() * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)
        # Cauchy's weights: pixels that the generator has invented say nothing of the camera.
        weight = weight / (1 + (rest / (2 * scale[:, None, None] + 1e-9)) ** 2)
        columns = slopes.flatten(2)
        weighted = columns * weight.flatten(1)[:, None]
        normal = weighted @ columns.transpose(1, 2)
        scale = normal.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        normal = normal + 1e-6 * scale * torch.eye(len(normal[0]), device=normal.device)
        motion = motion + torch.linalg.solve(normal, weighted @ rest.flatten(1)[..., None])[..., 0]
    moved = (motion[:, :, None, None, None] * fields).sum(dim=1)
    squared = moved.square().sum(dim=1) * mask
    return (squared.sum(dim=(1, 2)) / mask.sum(dim=(1, 2)).clamp(min=1)).sqrt()


def window_shifts(frames: Frames, reference: Frames, mask: Masks) -> Float[Tensor, " window"]:
    """Returns the length in pixels of the best shift of each textured 16x16 window, at most 4.

    Windows of which less than 90 % is in `mask` are left out.
    """
    grey, target = _grey(frames, mask), _grey(reference, mask)
    count, height, width = grey.shape
    weight = mask.float()
    shift = grey.new_zeros(count, 2, height // WINDOW, width // WINDOW)
    usable = _pooled(weight) > COVERED
    for _ in range(ITERATIONS):
        moved = shift.repeat_interleave(WINDOW, 2).repeat_interleave(WINDOW, 3)
        moved = F.pad(moved, (0, width - moved.shape[3], 0, height - moved.shape[2]))
        aligned, _ = _sample(target, moved)
        gx, gy = _gradient(aligned).unbind(dim=1)
        rest = grey - aligned
        xx, xy, yy, bx, by = (
            _pooled(weight * product)
            for product in (gx * gx, gx * gy, gy * gy, gx * rest, gy * rest)
        )
        smallest = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
        usable = usable & (smallest > TEXTURED)
        det = (xx * yy - xy**2).clamp(min=1e-12)
        step = torch.stack([yy * bx - xy * by, xx * by - xy * bx], dim=1) / det[:, None]
        shift = (shift + step.where(usable[:, None], 0)).clamp(-LONGEST, LONGEST)
    return shift.norm(dim=1).clamp(max=LONGEST)[usable]


def _motion_fields(
    depth: Float[Tensor, "frame h w"], intrinsics: Float[Tensor, "4"]
) -> Float[Tensor, "frame 6 2 h w"]:
    """The displacement of each pixel in pixels by unit translations and rotations of the camera.

    Translations are in units of each frame's median depth.
    """
    fx, fy, cx, cy = intrinsics.tolist()
    height, width = depth.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = ((columns + 0.5 - cx) / fx).to(depth).expand_as(depth)
    y = ((rows + 0.5 - cy) / fy).to(depth).expand_as(depth)
    near = depth.flatten(1).median(dim=1).values[:, None, None] / depth
    none, one = torch.zeros_like(x), torch.ones_like(x)
    across = torch.stack([-near, none, x * near, x * y, -(one + x * x), y], dim=1)
    down = torch.stack([none, -near, y * near, one + y * y, -x * y, -x], dim=1)
    return torch.stack([across * fx, down * fy], dim=2)


def _grey(frames: Frames, mask: Masks) -> Float[Tensor, "frame h w"]:
    """The mean of the grey values in `mask` under a Gaussian window."""
    taps = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float32, device=frames.device)
    kernel = (-(taps**2) / (2 * BLUR**2)).softmax(dim=0)
    weight = mask.float()[:, None]
    both = torch.cat([frames.float().mean(dim=1, keepdim=True) * weight, weight])
    both = F.conv2d(both, kernel.view(1, 1, 1, -1), padding=(0, RADIUS))
    grey, weight = F.conv2d(both, kernel.view(1, 1, -1, 1), padding=(RADIUS, 0))[:, 0].chunk(2)
    return grey / weight.clamp(min=1e-6)


def _gradient(grey: Float[Tensor, "frame h w"]) -> Float[Tensor, "frame 2 h w"]:
    across, down = torch.gradient(grey, dim=(2, 1))
    return torch.stack([across, down], dim=1)


def _sample(
    grey: Float[Tensor, "frame h w"], moved: Float[Tensor, "frame 2 h w"]
) -> tuple[Float[Tensor, "frame h w"], Bool[Tensor, "frame h w"]]:
    """The values at displaced pixels, and whether these lie inside the picture."""
    height, width = grey.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = (columns.to(grey) + 0.5 + moved[:, 0]) / width * 2 - 1
    y = (rows.to(grey) + 0.5 + moved[:, 1]) / height * 2 - 1
    grid = torch.stack([x, y], dim=-1)
    found = F.grid_sample(grey[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return found, (grid.abs() <= 1).all(dim=-1)


def _pooled(values: Float[Tensor, "frame h w"]) -> Float[Tensor, "frame row column"]:
    return rearrange(F.avg_pool2d(values[:, None], WINDOW), "f 1 r c -> f r c")
