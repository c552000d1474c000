"""Our outputs for the fixture kinds of the geometry: `sdg_cameras` and `recon_rays`."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.geometry.cameras import Cameras, intrinsics_to_matrix, matrix_to_intrinsics
from src.geometry.rays import Precision, coarse_rays, pluecker
from src.geometry.trajectories import TrajectorySpec, make_trajectory

from .fixture import Fixture

PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "parity"}
# Longer trajectories are stored at every `subsample`-th frame.
MAX_STORED_FRAMES = 20


def sdg_cameras(fixture: Fixture) -> dict[str, Tensor]:
    """Poses of every trajectory type and rotation mode, and intrinsics, per setting."""
    outputs, config = {}, fixture.config
    subsample, rotations = config["subsample"], config["rotations"]
    config.require(
        cases=[f"{name}/{rotation}" for name in config["types"] for rotation in rotations]
    )
    for index, setting in enumerate(config["settings"]):
        frames = setting["num_frames"]
        stride = subsample if frames > MAX_STORED_FRAMES else 1
        source_w2c = None
        if setting["source"] != "identity":
            source_w2c = fixture.inputs(f"source_w2c_{_suffix(setting)}")
        poses = []
        for case in config["cases"]:
            name, rotation = case.split("/")
            spec = TrajectorySpec(
                name,
                float(setting["distance"]),
                rotation,
                float(setting["radius_x_factor"]),
                float(setting["radius_y_factor"]),
                setting["num_circles"],
            )
            depth = float(setting["center_depth"])
            poses.append(make_trajectory(spec, frames, depth, source_w2c))
        outputs[f"w2c_{index}"] = torch.stack(poses)[:, ::stride]
        outputs[f"K_{index}"] = _matrices(fixture, setting)[::stride]
    return outputs


def _suffix(setting: dict) -> str:
    """Returns the name of a setting's source tensors: `single`, or the number of frames."""
    return str(setting["num_frames"]) if setting["source"] == "per_frame" else "single"


def _matrices(fixture: Fixture, setting: dict) -> Tensor:
    """One matrix per frame: the moving source camera's own, otherwise a single one repeated."""
    matrices = matrix_to_intrinsics(fixture.inputs(f"source_K_{_suffix(setting)}"))
    return intrinsics_to_matrix(matrices).expand(setting["num_frames"], 3, 3)


def recon_rays(fixture: Fixture) -> dict[str, Tensor]:
    """Pluecker maps at full size and rays of the coarse grid, in the recorded precision."""
    config, c2w = fixture.config, fixture.inputs("c2ws_input")
    height, width = config["img_size"]
    config.require(batch=c2w.shape[0], num_cameras=c2w.shape[1])
    factor = config["patch_size_out_factor"][1]
    config.require(patch_size_out_factor=[1, factor, factor])
    precision = PRECISIONS[config["compute_plucker_dtype"]]
    cameras = Cameras(c2w, fixture.inputs("intrinsics_input"), width, height)
    origins, directions = coarse_rays(cameras, factor, precision)
    outputs = {
        "plucker_embedding": pluecker(cameras, precision),
        "rays_os": origins,
        "rays_ds": directions,
    }
    return {name: tensor.float() for name, tensor in outputs.items()}


KINDS: dict[str, Callable[[Fixture], dict[str, Tensor]]] = {
    "sdg_cameras": sdg_cameras,
    "recon_rays": recon_rays,
}
