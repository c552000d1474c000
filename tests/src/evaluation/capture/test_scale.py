"""The factor between the units of captures and scenes, on worlds whose scene is exact."""

from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from captured_world import SIZE, CapturedWorld

from src.depth.backends.choice import FileDepth
from src.depth.estimate import DepthEstimate
from src.evaluation.capture.measure import even_window, measure_capture
from src.evaluation.capture.reading import read_capture
from src.evaluation.capture.scale import (
    align_scale,
    input_view,
    near_targets,
    scaled,
    search_factor,
    write_depth_with_lens,
)
from src.evaluation.compare import load_measures
from src.geometry.cameras import Cameras
from src.geometry.fit import WHOLE, Region
from src.runtime import InputError


def cameras_of(folder: Path) -> Cameras:
    return read_capture(folder).placed(0, SIZE)[1:]


def pictures_of(world: CapturedWorld) -> torch.Tensor:
    return world.pool.color[0, 0, :, 1:].movedim(1, 0).float() / 255


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_search_finds_the_factor(tmp_path: Path, world: CapturedWorld, scale: float) -> None:
    """Would catch its inverse, a search that a scale misleads, half-pixel shifts of the warp."""
    capture = read_capture(world.write(tmp_path, scale))
    found = align_scale(
        capture, 0, world.view(), cameras=cameras_of(tmp_path), targets=pictures_of(world)
    )
    assert found.value == pytest.approx(1 / (scale * world.median), rel=0.01)
    assert "search" in found.method


def test_hidden_surfaces_pull_the_search_by_less_than_two_percent(
    tmp_path: Path, hard_world: CapturedWorld
) -> None:
    """Would catch a search that only works on the world above."""
    capture = read_capture(hard_world.write(tmp_path))
    targets = pictures_of(hard_world)
    found = align_scale(
        capture, 0, hard_world.view(), cameras=cameras_of(tmp_path), targets=targets
    )
    assert found.value == pytest.approx(1 / hard_world.median, rel=0.02)


def test_a_scene_may_have_the_lens_of_the_capture(tmp_path: Path, world: CapturedWorld) -> None:
    """Would catch the estimated lens, a lens of other pixels, sky that gets a depth."""
    capture, seen = read_capture(world.write(tmp_path)), world.view()

    class Estimate:
        name, scene_scale = "exact", False

        def __call__(self, image: torch.Tensor, region: Region = WHOLE) -> DepthEstimate:
            assert image.shape == (3, *SIZE) and region == WHOLE
            known = seen.known.clone()
            known[:10] = False
            return DepthEstimate(world.depth, known, 2 * seen.intrinsics)

    path = write_depth_with_lens(capture, 0, Estimate(), tmp_path / "made/depth.npz")
    size = (64, 96)
    view = input_view(capture, 0, FileDepth(path), size)
    torch.testing.assert_close(view.intrinsics, capture.placed(0, size).intrinsics[0])
    assert not view.known[:3].any() and view.known[8:].all()
    assert view.divisor == pytest.approx(world.median, rel=0.1)


def test_depth_maps_decide_the_factor(tmp_path: Path, world: CapturedWorld) -> None:
    """Would catch a map that is ignored, the inverse ratio, unknown depth among the ratios."""
    capture = read_capture(world.write(tmp_path))
    depth = world.depth.numpy().copy() * 4
    depth[:40] = np.nan
    path = tmp_path / "depth.npz"
    np.savez(path, depth=depth)
    capture = replace(capture, depth=(path, *capture.depth[1:]))
    arguments = {"cameras": cameras_of(tmp_path), "targets": pictures_of(world)}
    found = align_scale(capture, 0, world.view(), **arguments)
    assert found.value == pytest.approx(1 / (4 * world.median), rel=0.01)
    assert "depth map" in found.method
    np.savez(path, depth=np.full(SIZE, np.nan, np.float32))
    with pytest.raises(InputError, match="no pixel"):
        align_scale(capture, 0, world.view(), **arguments)


def test_cameras_that_only_turn_have_no_scale(tmp_path: Path, world: CapturedWorld) -> None:
    """Would catch a division by the distance of cameras that stand still."""
    capture = read_capture(world.write(tmp_path))
    still = scaled(cameras_of(tmp_path), 0.0)
    found = align_scale(capture, 0, world.view(), cameras=still, targets=pictures_of(world))
    assert found.value == 1 and "turn" in found.method


def test_the_search_is_exact_and_refuses_a_scene_that_nobody_sees() -> None:
    """Would catch a golden section that loses its bracket, and a factor out of nothing."""
    found = search_factor(lambda factor: -abs(log(factor / 0.37)), (0.01, 3.0))
    assert found == pytest.approx(0.37, rel=0.005)
    with pytest.raises(InputError, match="no factor"):
        search_factor(lambda factor: -torch.inf, (0.01, 3.0))


def test_the_capture_s_unit_changes_metric_figures_alone(
    tmp_path: Path, world: CapturedWorld
) -> None:
    """Would catch an alignment that is not used, or that metric figures use too."""
    measures = load_measures(("psnr", "ssim"), tmp_path)
    found = {}
    for scale in (1.0, 2.5):
        capture = read_capture(world.write(tmp_path / str(scale), scale))
        measured = measure_capture(
            capture,
            0,
            range(1, 9),
            view=world.view(),
            gaussians=world.gaussians(),
            measures=measures,
        )
        found[scale] = {(row["scale"], row["method"]): row for row in measured.means(range(8))}
        assert measured.picture().shape[1] > 4 * SIZE[1]
    first, second = found.values()
    assert measured.factors["metric"].value == pytest.approx(1 / world.median)
    for key, row in first.items():
        for name in ("psnr_all", "psnr_covered", "ssim", "covered"):
            assert key[0] == "metric" or second[key][name] == pytest.approx(row[name], rel=0.01)
    aligned, metric = (
        second[scale, "gaussians"]["psnr_covered"] for scale in ("aligned", "metric")
    )
    assert aligned > metric + 3
    # In the world's own unit both scales agree, and the exact scene beats the repeated input.
    assert first["metric", "gaussians"]["psnr_covered"] == pytest.approx(
        first["aligned", "gaussians"]["psnr_covered"], abs=0.3
    )
    assert aligned > second["aligned", "repeated"]["psnr_covered"] + 3
    assert second["aligned", "gaussians"]["psnr_disoccluded"] < aligned


def test_covered_pixels(world: CapturedWorld) -> None:
    """Would catch a mask of the wrong side, and a lens that shifts the picture by half a pixel."""
    view = world.view()
    c2w = torch.eye(4).repeat(2, 1, 1)
    # To the right, by a fifth of the picture at depth 1.
    shift = 0.2 * SIZE[1] / view.intrinsics[0]
    c2w[1, 0, 3] = shift
    flat = replace(view, depth=torch.ones(SIZE))
    warp = flat.warp(Cameras(c2w, view.intrinsics.expand(2, 4), SIZE[1], SIZE[0]))
    assert warp.mask[0].all() and torch.allclose((warp.image[0] + 1) / 2, view.image, atol=1e-4)
    assert warp.mask[1, :, :127].all() and not warp.mask[1, :, 129:].any()


def test_windows() -> None:
    """Would catch frames before the input, a window without its ends, and an empty one."""
    assert even_window(range(1, 60), 0)[::13] == [0, 58]
    assert len(set(even_window(range(1, 60), 0))) == 14
    targets = [at for at in range(20) if at != 15]
    assert [targets[at] for at in even_window(targets, 15)] == [16, 17, 18, 19]
    assert even_window([0, 1, 2], 3) == [0, 1, 2]


def test_the_search_takes_the_nearest_quarter() -> None:
    """Would catch far targets, which do not see the input, among those of the search."""
    c2w = torch.eye(4).repeat(64, 1, 1)
    c2w[:, 0, 3] = torch.arange(64).flip(0)
    lens = torch.tensor([50.0, 50.0, 32.0, 24.0]).expand(64, 4)
    near = near_targets(Cameras(c2w, lens, 64, 48))
    assert len(near) == 8 and near[0] == 48 and near[-1] == 63
