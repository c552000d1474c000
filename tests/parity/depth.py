"""Parity of the depth layer: preparation of a still image, alignment of depth maps."""

import torch
from torch import Tensor

from src.depth.alignment import ScaleSettings, align_non_rigid, align_rigid
from src.depth.backends.moge import moge_estimate, prepare_image, resize_uint8
from src.depth.estimate import clamp_depth
from src.geometry.cameras import intrinsics_to_matrix, matrix_to_intrinsics

from .fixture import Fixture

CACHE_FARTHEST_DEPTH = 100.0


def sdg_moge_post(fixture: Fixture) -> dict[str, Tensor]:
    """A still image and a depth model's raw result at the generator's size."""
    mask = fixture.inputs("mask") > 0
    picture = fixture.inputs("image_uint8").to(torch.uint8)
    fixture.config.require(source_hw=[*picture.shape[:2]])
    depth = torch.where(mask, fixture.inputs("depth_valid"), torch.inf)
    image = resize_uint8(picture, *fixture.config["depth_hw"]).permute(2, 0, 1).float() / 255
    estimate = moge_estimate(depth, mask, fixture.inputs("K_normalised"))
    prepared = prepare_image(image, estimate, *fixture.config["target_hw"])
    target = prepared.estimate
    return {
        "depth_model_input": image,
        "image": prepared.image[None, None],
        "depth": target.depth[None, None, None],
        "depth_cache": clamp_depth(target.depth, CACHE_FARTHEST_DEPTH)[None, None, None],
        "mask": target.mask[None, None, None].long(),
        "K": intrinsics_to_matrix(target.intrinsics)[None, None],
        "w2c": prepared.w2c[None, None],
    }


def sdg_align(fixture: Fixture) -> dict[str, Tensor]:
    """Rigid alignment, and non-rigid alignment after 5 steps and after all of them."""
    source, target = fixture.inputs("source_depth"), fixture.inputs("target_depth")
    height, width = source.shape[-2:]
    fixture.config.require(height=height, width=width)
    mask, intrinsics = fixture.inputs("target_mask") > 0, matrix_to_intrinsics(fixture.inputs("K"))

    def non_rigid(steps: int) -> Tensor:
        config = fixture.config
        rate, smoothness = float(config["lr"]), float(config["lambda_arap"])
        settings = ScaleSettings(
            steps=steps,
            learning_rate=rate,
            smoothness=smoothness,
            box=config["smoothing_kernel_size"],
        )
        # As published: the camera-to-world pose in the place of its inverse.
        pose = fixture.inputs("c2w")
        return align_non_rigid(source, target, mask, intrinsics, pose, settings)

    return {
        "rigid": align_rigid(source, target, mask),
        "non_rigid_5": non_rigid(5),
        "non_rigid": non_rigid(fixture.config["num_iters"]),
    }


KINDS = {"sdg_moge_post": sdg_moge_post, "sdg_align": sdg_align}
