"""Camera paths, rays, splats, renders and alignments from their formulas, in float64 and loops.

Nothing here imports the project: these are the second opinion that its code is compared with.
"""

import math

import numpy as np
import torch

LINEAR = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "up": (0, -1, 0),
    "down": (0, 1, 0),
    "zoom_in": (0, 0, 1),
    "zoom_out": (0, 0, -1),
}
LOOK_AT_SHIFT = {"center_facing": 0, "no_rotation": 1, "trajectory_aligned": 2}


def path_pose(case: str, frame: int, setting: dict) -> np.ndarray:
    """The w2c pose of a path (`trajectory/rotation`) relative to its source camera."""
    trajectory, rotation = case.split("/")
    count, distance, center = (setting[key] for key in ("num_frames", "distance", "center_depth"))
    if trajectory in LINEAR:
        offset = np.array(LINEAR[trajectory]) * frame / count * distance * center
    else:
        angle = 2 * math.pi * setting["num_circles"] * frame / (count - 1)
        sign = 1 if trajectory == "clockwise" else -1
        x = sign * distance * setting["radius_x_factor"] * (math.cos(angle) - 1)
        y = distance * setting["radius_y_factor"] * math.sin(angle)
        offset = np.array([x * center, y * center, 0])
    forward = np.array([0, 0, center]) + LOOK_AT_SHIFT[rotation] * offset - offset
    forward = forward / np.linalg.norm(forward)
    right = np.cross([0, 1, 0], forward)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = right, np.cross(forward, right), forward
    # The translation is -p and not -R p: the original's quirk.
    pose[:3, 3] = -offset
    return pose


def pixel_ray(c2w: np.ndarray, intrinsics: np.ndarray, x: float, y: float) -> np.ndarray:
    """The unit direction, in the world, of the ray through picture position (x, y)."""
    fx, fy, cx, cy = intrinsics
    direction = np.array([(x - cx) / fx, (y - cy) / fy, 1])
    return c2w[:3, :3] @ (direction / np.linalg.norm(direction))


def reliable(depth: np.ndarray, threshold: float) -> np.ndarray:
    """1 where depth varies little in the 5x5 window; the mean counts zeros outside the picture."""
    result = np.zeros_like(depth)
    height, width = depth.shape
    for row in range(height):
        for column in range(width):
            rows, columns = slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3)
            window = depth[rows, columns]
            ratio = (window.max() - window.min()) / (window.sum() / 25 + 1e-6)
            result[row, column] = ratio < threshold and depth[row, column] > 0
    return result


def unproject(depth: np.ndarray, K: np.ndarray, w2c: np.ndarray) -> np.ndarray:
    """World points of integer pixel positions; the origin where there is no depth."""
    height, width = depth.shape
    points, inverse = np.zeros((height, width, 3)), np.linalg.inv(w2c)
    for row in range(height):
        for column in range(width):
            if depth[row, column] > 0:
                camera = depth[row, column] * np.linalg.solve(K, [column, row, 1])
                points[row, column] = (inverse @ [*camera, 1])[:3]
    return points


def splat(frames: list[tuple], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (-1 in holes), mask and depth of (points, image, mask, w2c, K) frames in one chunk."""
    height, width = size
    projected = []
    for points, image, mask, w2c, K in frames:
        camera = points.reshape(-1, 3) @ w2c[:3, :3].T + w2c[:3, 3]
        pixel = camera @ K.T
        xy = pixel[:, :2] / (pixel[:, 2:] + 1e-7)
        projected.append((xy, pixel[:, 2], image.reshape(3, -1), mask.reshape(-1)))
    largest = max(np.log1p(np.maximum(z, 0)).max() for _, z, _, _ in projected)
    results = []
    for xy, z, colors, mask in projected:
        total = np.zeros((height + 2, width + 2, 5))
        for (x, y), depth, color, kept in zip(xy, z, colors.T, mask, strict=True):
            if not kept or depth <= 0:
                continue
            u, v = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
            nearness = math.exp(min(50 * math.log1p(depth) / (largest + 1e-7), 80)) + 1e-7
            for column, wx in ((math.floor(u), 1 - u % 1), (math.ceil(u), 1 - (math.ceil(u) - u))):
                for row, wy in ((math.floor(v), 1 - v % 1), (math.ceil(v), 1 - (math.ceil(v) - v))):
                    total[row, column] += wx * wy / nearness * np.array([*color, depth, 1])
        total = total[1:-1, 1:-1].transpose(2, 0, 1)
        seen = total[4:] > 0
        weight = np.where(seen, total[4:], 1)
        image = np.where(seen, total[:3] / weight, -1).clip(-1, 1)
        results.append((image, seen.astype(float), np.where(seen, total[3:4] / weight, 0)))
    image, mask, depth = (np.stack(parts) for parts in zip(*results, strict=True))
    return image, mask, depth


def rotation_matrix(quaternion: torch.Tensor) -> torch.Tensor:
    """The matrix of a wxyz quaternion of any length."""
    w, x, y, z = quaternion / quaternion.norm()
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y))),
        torch.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x))),
        torch.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))),
    )
    return torch.stack(rows)


def render_ewa(
    scene: dict[str, torch.Tensor], w2c: torch.Tensor, K: torch.Tensor, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour on white, alpha and expected depth of a few Gaussians, pixel by pixel (EWA)."""
    camera = scene["means"] @ w2c[:3, :3].T + w2c[:3, 3]
    projected = []
    for index in torch.argsort(camera[:, 2]).tolist():
        x, y, z = camera[index]
        spread = rotation_matrix(scene["quats"][index]) * scene["scales"][index]
        spread = w2c[:3, :3] @ spread
        zero = torch.zeros_like(z)
        jacobian = torch.stack((1 / z, zero, -x / z**2, zero, 1 / z, -y / z**2)).reshape(2, 3)
        jacobian = K[:2, :2] @ jacobian
        covariance = jacobian @ spread @ spread.T @ jacobian.T
        covariance = covariance + 0.3 * torch.eye(2, dtype=z.dtype)
        center = torch.stack((K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]))
        projected.append((index, center, torch.linalg.inv(covariance), z))
    rows = []
    for row in range(size[0]):
        for column in range(size[1]):
            pixel = torch.tensor([column + 0.5, row + 0.5], dtype=camera.dtype)
            rows.append(_blend(scene, projected, pixel))
    color, alpha, depth = (torch.stack(part).reshape(*size, -1) for part in zip(*rows, strict=True))
    return color, alpha, depth


def _blend(scene: dict, projected: list[tuple], pixel: torch.Tensor) -> tuple:
    """Front-to-back blending at one pixel with the cut-offs 0.999, 1/255 and 1e-4."""
    through = torch.ones((), dtype=pixel.dtype)
    color, depth = torch.zeros(3, dtype=pixel.dtype), torch.zeros((), dtype=pixel.dtype)
    for index, center, inverse, z in projected:
        offset = pixel - center
        density = torch.exp(-0.5 * offset @ inverse @ offset)
        alpha = torch.clamp(scene["opacities"][index] * density, max=0.999)
        if alpha < 1 / 255:
            continue
        if through * (1 - alpha) <= 1e-4:
            break
        color = color + through * alpha * scene["colors"][index]
        depth = depth + through * alpha * z
        through = through * (1 - alpha)
    alpha = 1 - through
    return color + through, alpha, depth / torch.clamp(alpha, min=1e-10)


def fit_inverse_depth(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The source with the least-squares affine inverse depth, on the 10-90 % quantiles of both."""
    inverse_source, inverse_target = 1 / source, 1 / np.where(target > 0, target, 1e-30)
    low, high = np.quantile(inverse_source[source > 0], [0.1, 0.9])
    inside = (inverse_source > low) & (inverse_source < high)
    low, high = np.quantile(inverse_target[(mask > 0) & (target > 0)], [0.1, 0.9])
    inside &= (inverse_target > low) & (inverse_target < high)
    columns = np.stack((inverse_source[inside], np.ones(inside.sum())), axis=1)
    slope, offset = np.linalg.lstsq(columns, inverse_target[inside], rcond=None)[0]
    return 1 / (slope * inverse_source + offset)


def box_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the 3x3 window, zeros outside."""
    padded = np.pad(values, 1)
    height, width = values.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.sum(shifted, axis=0) / 9


def scale_pixels(
    rigid: np.ndarray, target: np.ndarray, mask: np.ndarray, K: np.ndarray, pose: np.ndarray,
    config: dict, steps: int,
) -> np.ndarray:  # fmt: skip
    """The rigid depth times a scale map after Adam steps with the gradient written out."""
    height, width = rigid.shape
    scale, first, second = np.ones_like(rigid), np.zeros_like(rigid), np.zeros_like(rigid)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack((x, y, np.ones_like(x)), axis=-1) @ np.linalg.inv(K).T
    rays = rays @ np.linalg.inv(pose)[:3, :3].T
    for step in range(1, steps + 1):
        difference = (scale * rigid - target)[..., None] * rays
        pull = (np.sign(difference) * rays).sum(-1) * rigid * (mask > 0) / (3 * (mask > 0).sum())
        sign = np.sign(np.round(box_mean(scale) - scale, 12)) / rigid.size
        gradient = pull + config["lambda_arap"] * (box_mean(sign) - sign)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        moment = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        scale = scale - config["lr"] * moment
    return rigid * scale


def opencv_taps(size: int, resized: int, index: int) -> list[tuple[int, int]]:
    """The two (pixel, weight times 2048) that OpenCV blends into a resized pixel."""
    position = np.float32((index + 0.5) * size / resized - 0.5)
    low = math.floor(position)
    fraction = float(position) - low
    pixels = [min(max(low, 0), size - 1), min(max(low + 1, 0), size - 1)]
    return [(pixels[0], round((1 - fraction) * 2048)), (pixels[1], round(fraction * 2048))]


def opencv_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """8-bit bilinear resize in OpenCV's fixed-point arithmetic."""
    result = np.zeros((height, width, image.shape[2]), dtype=np.int64)
    for row in range(height):
        for column in range(width):
            blended = np.full(image.shape[2], 2)
            for y, wy in opencv_taps(image.shape[0], height, row):
                taps = opencv_taps(image.shape[1], width, column)
                line = sum(wx * image[y, x] for x, wx in taps)
                blended += (wy * (line >> 4)) >> 16
            result[row, column] = blended >> 2
    return result


def bilinear(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """[..., h, w] resized with half-pixel centres, edges repeated."""
    matrices = []
    for size, resized in ((values.shape[-2], height), (values.shape[-1], width)):
        matrix = np.zeros((resized, size))
        for index in range(resized):
            position = min(max((index + 0.5) * size / resized - 0.5, 0), size - 1)
            low = min(int(position), size - 1)
            matrix[index, low] += 1 - (position - low)
            matrix[index, min(low + 1, size - 1)] += position - low
        matrices.append(matrix)
    return matrices[0] @ values @ matrices[1].T
