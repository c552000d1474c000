"""Which backend a name means, and what every one of them returns."""

import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.checkpoints import NANO_ASSETS
from src.depth.backends.choice import (
    NanoBackend,
    in_scene_unit,
    named_depth,
    nano_estimates,
    resolve_depth,
)
from src.depth.backends.nano import NanoDepth, NanoDepthConfig, NanoPrediction, save_nano_depth
from src.depth.backends.video import (
    FrameByFrame,
    VideoFrames,
    resolve_video_depth,
)
from src.depth.estimate import DepthEstimate
from src.geometry.fit import WHOLE, Region
from src.runtime import InputError

IMAGE = torch.rand(3, 18, 32)


def estimate(depth: Tensor, mask: Tensor) -> DepthEstimate:
    return DepthEstimate(depth, mask, torch.tensor([1.0, 1, 0, 0]))


def save_nano(checkpoint_dir: Path) -> None:
    config = NanoDepthConfig(widths=(4, 4, 4, 4), blocks=(1, 1, 1, 1), heads=2, height=32, width=48)
    save_nano_depth(NanoDepth(config), checkpoint_dir / "depth")


def test_auto_is_nano_only_where_the_weights_bring_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches the small network unasked in the place of the published one, whatever is installed,
    and a choice that nobody hears of."""
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "moge", None)
    for name in ("auto", "moge"):
        with pytest.raises(InputError, match="no package moge.*pip install --no-deps dlr-moge"):
            resolve_depth(name, tmp_path)
        with pytest.raises(InputError, match="no package moge"):
            resolve_video_depth(name, tmp_path)
    assert not caplog.records
    assert resolve_depth("nano", tmp_path).name == "nano"
    assert caplog.messages == ["depth by nano"]
    save_nano(tmp_path)
    assert resolve_depth("auto", tmp_path).name == "nano"
    assert resolve_video_depth("auto", tmp_path).name == "nano"
    assert caplog.messages[1:] == ["depth by nano (auto)"] * 2
    assert named_depth("auto", NANO_ASSETS) == "nano"


def test_the_nano_backend_returns_a_camera_in_pixels(tmp_path: Path) -> None:
    """Catches logarithms that are returned as they are."""
    save_nano(tmp_path)
    backend = resolve_depth("nano", tmp_path)
    result = backend(IMAGE)
    # Untrained, the network says depth 1, an undecided mask and a usual lens.
    assert torch.allclose(result.depth, torch.ones(18, 32))
    focal = math.exp(-0.3) * math.hypot(18, 32)
    assert result.intrinsics.tolist() == pytest.approx([focal, focal, 16, 9])
    assert not result.depth.requires_grad


class Brightness(NanoDepth):
    """Takes brightness for log depth, and its square at another scale for larger inputs."""

    def forward(self, image: Tensor, zoom: float = 1.0) -> NanoPrediction:
        value = 0.1 * image.mean(dim=1)
        nothing = torch.zeros_like(value)
        return NanoPrediction(
            value if zoom == 1 else value.square() + 2, nothing + 1, value[:, 0, 0]
        )


def test_depth_is_the_mean_with_that_of_the_larger_mirror_image() -> None:
    """Catches a mirror image that is not turned back, and its scale in the depth or the lens."""
    images = torch.rand(2, 3, 18, 32)
    found = nano_estimates(Brightness(), images)
    first = 0.1 * images.mean(dim=1)
    for estimate, one, other in zip(found, first, first.square(), strict=True):
        wanted = (one + other + (one - other).median()) / 2
        torch.testing.assert_close(estimate.depth.log(), wanted, rtol=0, atol=1e-5)
        focal = one[0, 0].exp() * math.hypot(18, 32)
        assert estimate.intrinsics[0].item() == pytest.approx(focal.item())


def test_the_nano_backend_turns_about_the_scene(tmp_path: Path) -> None:
    """Catches trajectories that turn about a point of the network's own unit."""
    save_nano(tmp_path)
    backend = resolve_depth("nano", tmp_path)
    assert isinstance(backend, NanoBackend)
    with torch.no_grad():
        backend.network.head.get_parameter("bias")[0] += math.log(3)
    result, divisor = in_scene_unit(backend(IMAGE), backend)
    assert divisor == pytest.approx(3) and result.depth.median() == pytest.approx(1)


def test_a_picture_of_nothing_but_sky_has_depth(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a close-up that passes for sky and ends in an error, or in a scene out of nothing."""
    save_nano(tmp_path)
    backend = resolve_depth("nano", tmp_path)
    assert isinstance(backend, NanoBackend)
    with torch.no_grad():
        backend.network.head.get_parameter("bias")[1] = 5.0
    assert backend(IMAGE).mask.all() and not caplog.records
    with torch.no_grad():
        backend.network.head.get_parameter("bias")[1] = -5.0
    assert backend(IMAGE).mask.all() and "hardly any pixel" in caplog.text


def test_no_depth_at_all_is_an_error() -> None:
    """Catches a scene out of nothing where a network that knows the scale sees no depth."""

    class Blind:
        name, scene_scale = "blind", True

        def __call__(self, image: Tensor, region: Region = WHOLE) -> DepthEstimate:
            return estimate(torch.full((18, 32), torch.inf), torch.zeros(18, 32, dtype=torch.bool))

    with pytest.raises(InputError, match="no valid pixel"):
        in_scene_unit(Blind()(IMAGE), Blind())
    with pytest.raises(InputError, match="no valid pixel"):
        in_scene_unit(FrameByFrame(Blind())(VideoFrames(IMAGE[None])), Blind())


def test_a_path_is_a_depth_file(tmp_path: Path) -> None:
    """Catches a file that is divided by nothing, or by a median with invalid pixels in it."""
    depth = np.full((9, 16), 4.0, dtype=np.float32)
    depth[:5] = np.nan
    np.savez(tmp_path / "d.NPZ", depth=depth)
    (tmp_path / "d.NPZ.npz").rename(tmp_path / "d.NPZ")
    backend = resolve_depth(str(tmp_path / "d.NPZ"))
    result, divisor = in_scene_unit(backend(IMAGE), backend)
    assert backend.name == "d.NPZ" and divisor == 4
    assert (result.depth[result.mask] == 1).all()
    assert result.mask.float().mean() == pytest.approx(4 / 9, abs=0.01)


@pytest.mark.parametrize("name", ["mog", "", "depth.tiff", "NANO"])
def test_unknown_names_are_refused(name: str) -> None:
    """Catches a typing error that becomes another backend."""
    with pytest.raises(InputError, match="auto, moge, depth_anything, nano"):
        resolve_depth(name)


def test_missing_weights_name_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a bare file error where the shipped weights are not there."""
    monkeypatch.setattr("src.depth.backends.choice.NANO_ASSETS", tmp_path / "assets")
    with pytest.raises(InputError) as caught:
        resolve_depth("nano", tmp_path / "own")
    for folder in ("own", "assets"):
        assert str(tmp_path / folder / "depth") in str(caught.value)


def test_the_median_counts_valid_pixels_only() -> None:
    """Catches a sky, a hole or a masked pixel that moves the scale."""
    depth = torch.tensor([[1.0, 2.0, 3.0], [torch.inf, 0.0, 500.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])

    class Backend:
        name, scene_scale = "backend", False

        def __call__(self, image: Tensor, region: Region = WHOLE) -> DepthEstimate:
            return estimate(depth, mask)

    scaled, divisor = in_scene_unit(Backend()(IMAGE), Backend())
    assert divisor == 2 and scaled.depth[0].tolist() == [0.5, 1, 1.5]
    mask[:] = False
    with pytest.raises(InputError, match="no valid pixel"):
        in_scene_unit(Backend()(IMAGE), Backend())
