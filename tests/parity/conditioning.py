"""Parity of the generator's conditions: 3D cache, condition latents, first frame."""

from collections.abc import Callable

import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import (
    CacheSettings,
    PointCache,
    SourceFrames,
    Warps,
    center_depth,
)
from cosmos_predict1.diffusion.conditioning.latents import (
    Conditions,
    Encode,
    condition_latents,
    condition_mask,
    first_frame_image,
    first_frame_latent,
)
from src.geometry.cameras import matrix_to_intrinsics
from src.io.image import read_image
from src.tokenizer.cosmos import COMPRESSION, SIGMA_DATA

from .fixture import Fixture
from .tokenizer import toy_encoder

# The camera whose view of the scene the second frame is aligned to.
UPDATE_FRAME = 4


def sdg_cache(fixture: Fixture) -> dict[str, Tensor]:
    """Warps of still scenes, of a still scene with an inserted frame, and of moving ones."""
    outputs, config = {}, fixture.config
    height, width = fixture.inputs("static_image").shape[-2:]
    config.require(height=height, width=width)
    _, w2c = _cameras(fixture, config["static"][0]["tag"])
    config.require(num_frames=len(w2c))
    for case in [*config["static"], *config["dynamic"]]:
        # Its cameras are inputs.
        case.describes("trajectory", "distance", "radius_x_factor", "radius_y_factor")
        case.describes("num_circles", "center_depth", "center_depth_is_median")
    for case in config["static"]:
        cache = PointCache(_sources(fixture, "static"), _settings(fixture, case))
        outputs |= _rendered(fixture, cache, case["tag"])
    moving = _sources(fixture, "dynamic")
    for case in config["dynamic"]:
        cache = PointCache(moving, _settings(fixture, case), moving=True)
        outputs |= _rendered(fixture, cache, case["tag"])
    if "outputs/dynamic_median_depth" in fixture.tensors:
        median = center_depth(moving.depth, published=True)
        outputs["dynamic_median_depth"] = torch.tensor([median])
    if "inputs/update_w2c" in fixture.tensors:
        outputs |= _rendered(fixture, _updated(fixture), "update")
    return outputs


def _updated(fixture: Fixture) -> PointCache:
    base = _sources(fixture, "static", depth="update_base_depth")
    cache = PointCache(base, _settings(fixture, {"foreground_masking": False}))
    intrinsics, w2c = _cameras(fixture, "update")
    chosen = slice(UPDATE_FRAME, UPDATE_FRAME + 1)
    image, depth = fixture.inputs("update_image"), fixture.inputs("update_depth")[:, 0]
    cache.insert(SourceFrames(image, depth, intrinsics[chosen], w2c[chosen]), alignment="rigid")
    return cache


def _sources(fixture: Fixture, name: str, depth: str | None = None) -> SourceFrames:
    return SourceFrames(
        fixture.inputs(f"{name}_image"),
        fixture.inputs(depth or f"{name}_depth")[:, 0],
        matrix_to_intrinsics(fixture.inputs(f"{name}_K")),
        fixture.inputs(f"{name}_w2c"),
    )


def _settings(fixture: Fixture, case: dict) -> CacheSettings:
    return CacheSettings(
        threshold=float(fixture.config["filter_points_threshold"]),
        foreground_masking=case["foreground_masking"],
        buffers=fixture.config["frame_buffer_max"],
    )


def _cameras(fixture: Fixture, tag: str) -> tuple[Tensor, Tensor]:
    return matrix_to_intrinsics(fixture.inputs(f"{tag}_K")[0]), fixture.inputs(f"{tag}_w2c")[0]


def _rendered(fixture: Fixture, cache: PointCache, tag: str) -> dict[str, Tensor]:
    """The warps for the cameras of `tag`, as `[1, frame, buffer, channel, h, w]`."""
    warps = cache.render(*_cameras(fixture, tag))
    return {
        f"{tag}_pixels": warps.image.transpose(0, 1)[None],
        f"{tag}_masks": warps.mask.transpose(0, 1)[None, :, :, None].float(),
    }


def sdg_condition(fixture: Fixture) -> dict[str, Tensor]:
    """Both branches for each number of buffers, and the first frame's latent."""
    encode = _stand_in(fixture)
    frame = fixture.inputs("first_frame")
    height, width = frame.shape[-2:]
    fixture.config.require(
        height=height, width=width, sigma_data=SIGMA_DATA, compression=COMPRESSION
    )
    first = first_frame_latent(encode, frame[0, :, 0])
    outputs = {}
    for count in fixture.config["num_buffers"]:
        image = fixture.inputs(f"warps_{count}")[0].transpose(0, 1)
        mask = fixture.inputs(f"masks_{count}")[0, :, :, 0].transpose(0, 1)
        warps = Warps(image, mask > 0, torch.zeros_like(mask))
        latents = condition_latents(encode, warps, fixture.config["frame_buffer_max"])
        text = torch.zeros(1, 1, 1)
        condition = Conditions(text, condition_mask(latents), latents)
        other = condition.unconditional(text)
        outputs[f"condition_{count}"] = condition.warps
        outputs[f"uncondition_{count}"] = other.warps
        outputs[f"condition_mask_{count}"] = condition.mask
        outputs[f"uncondition_mask_{count}"] = other.mask
    # The original encodes a grey rest with the frame and never looks at it: only the latent of
    # the frame is ours, the rest is here for the comparison.
    rest = torch.zeros_like(frame).repeat(1, 1, fixture.config["num_frames"] - 1, 1, 1)
    padded = encode(torch.cat([frame, rest], dim=2))
    outputs["first_frame_latent"] = torch.cat([first, padded[:, :, 1:]], dim=2)
    return outputs


def _stand_in(fixture: Fixture) -> Encode:
    """The fixture's analytic encoder, followed by the normalisation of the tokenizer."""
    raw = toy_encoder(fixture.inputs("encoder_matrix"), torch.zeros(1))
    bias = fixture.inputs("encoder_bias")[:, None, None, None]
    mean, std = (
        fixture.inputs(f"latent_{name}_256").reshape(len(bias), -1)[:, :, None, None]
        for name in ("mean", "std")
    )

    def encode(video: Tensor) -> Tensor:
        latent = raw(video)
        count = latent.shape[2]
        steps = torch.arange(1.0, count + 1)[:, None, None]
        return SIGMA_DATA * (latent + bias * steps - mean[:, :count]) / std[:, :count]

    return encode


def sdg_first_frame(fixture: Fixture) -> dict[str, Tensor]:
    """The first frame of every stored picture file."""
    size = (fixture.config["height"], fixture.config["width"])
    outputs = {}
    for index, entry in enumerate(fixture.config["images"]):
        image = read_image(fixture.path / entry["file"])
        entry.require(height=image.shape[0], width=image.shape[1])
        # The channels of the file; the reader drops a fourth one.
        entry.describes("channels")
        outputs[f"frame_{index}"] = first_frame_image(image, *size)[None, :, None]
    return outputs


KINDS: dict[str, Callable[[Fixture], dict[str, Tensor]]] = {
    "sdg_cache": sdg_cache,
    "sdg_condition": sdg_condition,
    "sdg_first_frame": sdg_first_frame,
}
