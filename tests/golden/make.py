"""Write the golden fixtures beside this file: `python tests/golden/make.py [FOLDER]`.

Small inputs from fixed seeds, outputs from `formulas.py` in float64, stored as float32 in the
format that `scripts/check_parity.py` reads.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from formulas import (
    bilinear,
    fit_inverse_depth,
    opencv_resize,
    path_pose,
    pixel_ray,
    reliable,
    render_ewa,
    scale_pixels,
    splat,
    unproject,
)
from safetensors.torch import save_file

Content = tuple[str, str, dict, dict, dict[str, object]]


def look(random: np.random.Generator, angle: float, shift: float) -> np.ndarray:
    """A random rigid pose near the identity; exact in float32."""
    axis = random.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose = np.eye(4)
    pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    pose[:3, 3] = shift * random.normal(size=3)
    return pose.astype(np.float32).astype(np.float64)


def camera_paths() -> Content:
    """All path types and rotations, sources at the origin, elsewhere and moving."""
    random = np.random.default_rng(0)
    types = ["left", "right", "up", "down", "zoom_in", "zoom_out", "clockwise", "counterclockwise"]
    rotations = ["center_facing", "no_rotation", "trajectory_aligned"]
    cases = [f"{kind}/{rotation}" for kind in types for rotation in rotations]
    shape = {"radius_x_factor": 0.4, "radius_y_factor": 0.2, "num_circles": 2}
    settings = [
        {"num_frames": 5, "source": "identity", "distance": 0.3, "center_depth": 1.0, **shape},
        {"num_frames": 4, "source": "single", "distance": 0.7, "center_depth": 2.5, **shape},
        {"num_frames": 4, "source": "per_frame", "distance": 0.2, "center_depth": 0.8, **shape},
    ]
    K = np.array([[50, 0, 24], [0, 52, 16], [0, 0, 1.0]])
    tensors: dict[str, object] = {
        "inputs/source_w2c_single": look(random, 0.4, 1),
        "inputs/source_K_single": K,
        "inputs/source_w2c_4": np.stack([look(random, 0.3, 0.5) for _ in range(4)]),
        "inputs/source_K_4": np.stack([K + np.diag([index, index, 0]) for index in range(4)]),
    }
    for index, setting in enumerate(settings):
        count = setting["num_frames"]
        source, source_K = np.stack([np.eye(4)] * count), np.stack([K] * count)
        if setting["source"] == "single":
            source = np.stack([tensors["inputs/source_w2c_single"]] * count)
        elif setting["source"] == "per_frame":
            source, source_K = tensors["inputs/source_w2c_4"], tensors["inputs/source_K_4"]
        tensors[f"outputs/K_{index}"] = source_K
        paths = [[path_pose(case, frame, setting) for frame in range(count)] for case in cases]
        tensors[f"outputs/w2c_{index}"] = np.array(paths) @ source
    config = {
        "settings": settings, "cases": cases, "types": types, "rotations": rotations,
        "subsample": 10,
    }  # fmt: skip
    return "camera_paths", "sdg_cameras", config, {"rtol_norm": 2e-6}, tensors


def rays() -> Content:
    """Pluecker maps at full size and rays of 8x8 cells, two cameras."""
    random = np.random.default_rng(1)
    height, width = 16, 24
    poses = np.stack([look(random, 0.5, 1) for _ in range(2)])
    intrinsics = np.array([[20.0, 22, 11.5, 8.25], [31, 30, 13, 7]])
    plucker, origins = np.zeros((2, 6, height, width)), np.zeros((2, 3, 2, 3))
    directions = np.zeros_like(origins)
    for camera, (pose, values) in enumerate(zip(poses, intrinsics, strict=True)):
        for row in range(height):
            for column in range(width):
                ray = pixel_ray(pose, values, column + 0.5, row + 0.5)
                plucker[camera, :, row, column] = *np.cross(pose[:3, 3], ray), *ray
        for row in range(2):
            for column in range(3):
                origins[camera, :, row, column] = pose[:3, 3]
                ray = pixel_ray(pose, values / 8, column + 0.5, row + 0.5)
                directions[camera, :, row, column] = ray
    config = {
        "img_size": [height, width], "patch_size_out_factor": [1, 8, 8],
        "compute_plucker_dtype": "float32", "batch": 1, "num_cameras": 2,
    }  # fmt: skip
    tensors = {
        "inputs/c2ws_input": poses[None],
        "inputs/intrinsics_input": intrinsics[None],
        "outputs/plucker_embedding": plucker[None],
        "outputs/rays_os": origins[None],
        "outputs/rays_ds": directions[None],
    }
    return "rays", "recon_rays", config, {"rtol_norm": 2e-6}, tensors


def splats() -> Content:
    """Two frames of a box before a wall, splatted with and without a mask."""
    random = np.random.default_rng(2)
    height, width = 14, 20
    K = np.stack([np.array([[18.0, 0, 10], [0, 18, 7], [0, 0, 1]])] * 2)
    depth = 3 + 0.3 * np.linspace(0, 1, width)[None, None] * np.ones((2, height, 1))
    depth[0, 4:10, 6:12], depth[1, 5:11, 8:14] = 1.25, 1.5
    depth[:, 0, :3] = 0
    depth = depth.astype(np.float32).astype(np.float64)
    source = np.stack([look(random, 0.2, 0.4) for _ in range(2)])
    image = random.uniform(-1, 1, (2, 3, height, width)).astype(np.float32).astype(np.float64)
    mask = np.stack([reliable(frame, 0.2) for frame in depth])
    points = np.stack([unproject(*frame) for frame in zip(depth, K, source, strict=True)])
    tensors: dict[str, object] = {
        "inputs/K": K, "inputs/depth": depth[:, None], "inputs/image": image,
        "inputs/mask": mask[:, None], "inputs/source_w2c": source, "outputs/points": points,
        "outputs/reliable_0.2": mask[:, None],
    }  # fmt: skip
    where = {}
    for index in range(2):
        used = mask if index == 0 else np.ones_like(mask)
        target = np.stack([look(random, 0.08, 0.15) @ pose for pose in source])
        target = target.astype(np.float32).astype(np.float64)
        frames = list(zip(points, image, used, target, K, strict=True))
        results = splat(frames, (height, width))
        # A pixel is compared where moving every camera a little changes nothing to speak of.
        moved = splat([(*frame[:3], frame[3] + 2e-6 * np.eye(4), frame[4]) for frame in frames],
                      (height, width))  # fmt: skip
        change = [np.abs(a - b).max(1, keepdims=True) for a, b in zip(results, moved, strict=True)]
        tensors |= {
            f"inputs/target_w2c_{index}": target,
            f"inputs/target_K_{index}": K,
            f"aux/stable_{index}": (np.max(change, axis=0) < 1e-3).astype(np.int64),
        }
        for name, result in zip(("image", "mask", "depth"), results, strict=True):
            tensors[f"outputs/{name}_{index}"] = result
            where[f"{name}_{index}"] = f"aux/stable_{index}"
    cases = [{"use_mask": use, "identity": False} for use in (True, False)]
    config = {"height": height, "width": width, "chunk": 2, "cases": cases, "compare_where": where}
    return "splats", "sdg_warp", config, {"rtol_norm": 2e-4}, tensors


def five_gaussians() -> Content:
    """Five Gaussians, one of them hidden and one opaque, two cameras, with gradients."""
    generator = torch.Generator().manual_seed(3)
    height, width, count = 20, 28, 5
    normal = torch.randn(2, count, 4, generator=generator).double()
    scene = {
        "means": normal[0, :, :3] * torch.tensor([0.5, 0.3, 0.4]) + torch.tensor([0, 0, 3.0]),
        "quats": normal[1],
        "scales": 0.05 + 0.3 * torch.rand(count, 3, generator=generator).double(),
        "opacities": torch.tensor([0.95, 0.7, 0.4, 0.999, 0.02], dtype=torch.float64),
        "colors": torch.rand(count, 3, generator=generator).double(),
    }
    scene = {name: value.float().double().requires_grad_() for name, value in scene.items()}
    random = np.random.default_rng(3)
    poses = torch.from_numpy(np.stack([np.eye(4), look(random, 0.2, 0.2)]))
    K = torch.tensor([[25.0, 0, 14], [0, 25, 10], [0, 0, 1]], dtype=torch.float64)
    views = [render_ewa(scene, pose, K, (height, width)) for pose in poses]
    color, alpha, depth = (torch.stack(part) for part in zip(*views, strict=True))
    cotangents = [torch.randn(part.shape, generator=generator).double() for part in (color, alpha)]
    ((color * cotangents[0]).sum() + (alpha * cotangents[1]).sum()).backward()
    tensors: dict[str, object] = {
        "inputs/viewmats": poses, "inputs/Ks": torch.stack([K, K]),
        "inputs/cotangent_color": cotangents[0], "inputs/cotangent_alpha": cotangents[1],
        "outputs/color": color, "outputs/alpha": alpha, "outputs/depth": depth,
    }  # fmt: skip
    tensors |= {f"inputs/{name}": value for name, value in scene.items()}
    tensors |= {f"outputs/grad_{name}": value.grad for name, value in scene.items()}
    config = {
        "mode": "ewa", "width": width, "height": height, "near_plane": 0.1, "far_plane": 500.0,
        "background": [1.0, 1.0, 1.0], "sh_degree": None, "packed": False, "with_ut": False,
        "with_eval3d": False, "tile_size": 16, "eps2d": 0.3, "rasterize_mode": "classic",
    }  # fmt: skip
    return "five_gaussians", "render", config, {"rtol_norm": 1e-4}, tensors


def alignment() -> Content:
    """A noisy depth map against a target with another scale, shift and holes."""
    random = np.random.default_rng(4)
    height, width = 12, 16
    source = 1 + 2 * random.random((height, width))
    target = 1 / (0.6 / source + 0.1) * (1 + 0.05 * random.normal(size=source.shape))
    target[2:4, 3:9] = 0
    source, target = (array.astype(np.float32).astype(np.float64) for array in (source, target))
    mask = (target > 0).astype(np.int64)
    K = np.array([[15.0, 0, 8], [0, 15, 6], [0, 0, 1]])
    pose = look(random, 0.6, 0.3)
    config = {
        "num_iters": 20, "lr": 1e-3, "lambda_arap": 0.1, "smoothing_kernel_size": 3,
        "height": height, "width": width,
    }  # fmt: skip
    rigid = fit_inverse_depth(source, target, mask)
    steps = {"non_rigid_5": 5, "non_rigid": config["num_iters"]}
    tensors: dict[str, object] = {
        "inputs/source_depth": source, "inputs/target_depth": target, "inputs/target_mask": mask,
        "inputs/K": K, "inputs/c2w": pose, "outputs/rigid": rigid,
    }  # fmt: skip
    for name, count in steps.items():
        scaled = scale_pixels(rigid, target, mask, K, pose, config, count)
        tensors[f"outputs/{name}"] = scaled
    tolerance = {"rtol_norm": 2e-6, "per_output": {"non_rigid_5": 2e-5, "non_rigid": 1e-4}}
    return "alignment", "sdg_align", config, tolerance, tensors


def still_image() -> Content:
    """An image and a depth model's result, stretched to the depth's size and then the target's."""
    random = np.random.default_rng(5)
    source, middle, final = (11, 17), (18, 32), (16, 32)
    image = random.integers(0, 256, (*source, 3))
    mask = (random.random(middle) > 0.3).astype(np.int64)
    depth = (1 + 4 * random.random(middle)).astype(np.float32).astype(np.float64) * mask
    K = np.array([[0.75, 0, 0.5], [0, 1.25, 0.5], [0, 0, 1]])
    small = opencv_resize(image, *middle).transpose(2, 0, 1) / 255
    resized = bilinear(np.where(mask > 0, depth, 1000), *final).clip(0, 1e4)
    rows, columns = (np.arange(b) * a // b for a, b in zip(middle, final, strict=True))
    pixels = np.diag([final[1], final[0], 1]) @ K
    config = {"source_hw": list(source), "depth_hw": list(middle), "target_hw": list(final)}
    tensors = {
        "inputs/image_uint8": image, "inputs/mask": mask, "inputs/depth_valid": depth,
        "inputs/K_normalised": K,
        "outputs/depth_model_input": small,
        "outputs/image": 2 * bilinear(small, *final)[None, None] - 1,
        "outputs/depth": resized[None, None, None],
        "outputs/depth_cache": resized.clip(0, 100)[None, None, None],
        "outputs/mask": mask[rows][:, columns][None, None, None],
        "outputs/K": pixels[None, None], "outputs/w2c": np.eye(4)[None, None],
    }  # fmt: skip
    tolerance = {"rtol_norm": 2e-6, "per_output": {"mask": 0.0, "w2c": 0.0}}
    return "still_image", "sdg_moge_post", config, tolerance, tensors


def contents() -> Iterator[Content]:
    """Name, kind, config, tolerance and tensors of every golden fixture."""
    for make in (camera_paths, rays, splats, five_gaussians, alignment, still_image):
        yield make()


def write(folder: Path) -> None:
    """Write every golden fixture into its own folder inside `folder`."""
    for name, kind, config, tolerance, tensors in contents():
        (folder / name).mkdir(parents=True, exist_ok=True)
        text = {"kind": kind, "config": config, "tolerance": tolerance}
        (folder / name / "fixture.json").write_text(json.dumps(text, indent=1) + "\n")
        stored = {key: torch.as_tensor(value).detach() for key, value in tensors.items()}
        stored = {
            key: (value.float() if value.is_floating_point() else value.long()).contiguous()
            for key, value in stored.items()
        }
        save_file(stored, folder / name / "tensors.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
