"""Lists of the splats of each tile: against brute force, and on a GPU against gsplat's own."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.rendering.binning import bin_splats, is_worthwhile
from src.rendering.options import RasterizeOptions
from src.rendering.rasterize import rasterize
from src.rendering.tiles import TILE

MakeScene = Callable[..., tuple[Gaussians, Cameras]]
ROWS, COLUMNS = 3, 5


def random_boxes(frames: int, splats: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes in and around the picture, many of equal depth; invisible ones hold rubbish."""
    size = torch.tensor([COLUMNS * TILE, ROWS * TILE])
    center = (torch.rand(frames, splats, 2) * 1.6 - 0.3) * size
    radius = torch.randint(0, 40, (frames, splats, 2), dtype=torch.int32)
    depth = torch.randint(1, 9, (frames, splats)) / 4
    hidden = (radius == 0).any(dim=-1)
    center[hidden], depth[hidden] = torch.nan, -1.0
    return center, radius, depth


def by_brute_force(center: Tensor, radius: Tensor, depth: Tensor) -> tuple[list[int], list[int]]:
    """The list of each tile of each frame: numbers of frame x splat by depth, then by number."""
    ids: list[int] = []
    starts: list[int] = []
    for frame in range(len(depth)):
        for row in range(ROWS):
            for column in range(COLUMNS):
                starts.append(len(ids))
                low = TILE * torch.tensor([column, row])
                near = (center[frame] + radius[frame] > low) & (
                    center[frame] - radius[frame] < low + TILE
                )
                found = (near.all(-1) & (radius[frame] > 0).all(-1)).nonzero()[:, 0].tolist()
                found.sort(key=lambda splat: (float(depth[frame, splat]), splat))
                ids += [frame * depth.shape[1] + splat for splat in found]
    return ids, starts


@pytest.mark.parametrize("splats", [1, 7, 300])
def test_lists_follow_depth_and_then_the_number(splats: int) -> None:
    """Splats in the wrong tile, behind farther ones, twice, or equal depths by turns."""
    boxes = random_boxes(2, splats)
    ids, starts = bin_splats(*boxes, (ROWS, COLUMNS))
    expected_ids, expected_starts = by_brute_force(*boxes)
    assert ids.tolist() == expected_ids and ids.dtype == starts.dtype == torch.int32
    assert starts.shape == (2, ROWS, COLUMNS) and starts.flatten().tolist() == expected_starts


def test_nothing_to_see_is_an_empty_list() -> None:
    """A crash where a camera looks away from the scene."""
    center, radius, depth = random_boxes(2, 5)
    ids, starts = bin_splats(center, torch.zeros_like(radius), depth, (ROWS, COLUMNS))
    assert len(ids) == 0 and not starts.any()


def test_small_scenes_and_large_pictures_stay_with_gsplat() -> None:
    """Tile numbers beyond 16 bits."""
    assert is_worthwhile(2_000_000, 3520) and not is_worthwhile(2_000_000, 2**15)
    assert not is_worthwhile(60_000, 220)


@pytest.mark.gpu
@pytest.mark.parametrize("depth", [False, True])
def test_pictures_of_both_ways_and_of_gsplats_own_are_equal(
    depth: bool, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any bit that differs from gsplat's `rasterization`, one pass for colour and one for depth."""
    from gsplat import rasterization

    gaussians, cameras = make_scene(20_000, frames=3, width=320, height=176, sigma=3.0)
    gaussians, cameras = gaussians.to("cuda"), cameras.to("cuda")
    options = RasterizeOptions(background=(0.2, 0.5, 1.0), depth=depth)
    # With another number for each of many Gaussians at one depth, ties show.
    gaussians.means[:2000] = gaussians.means[:1]
    pictures = []
    for least in (0, 2**30):
        monkeypatch.setattr("src.rendering.binning.LEAST_SPLATS", least)
        pictures.append(rasterize(gaussians, cameras, options, "cuda"))
    exact = cameras.to(torch.float64)
    w2c, K = exact.w2c.float(), exact.K.float()

    def launch(colors: Tensor, background: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
        shown, alpha, _ = rasterization(
            means=gaussians.means,
            quats=gaussians.quats,
            scales=gaussians.scales,
            opacities=gaussians.opacities,
            colors=colors,
            viewmats=w2c,
            Ks=K,
            width=cameras.width,
            height=cameras.height,
            near_plane=options.near,
            far_plane=options.far,
            packed=False,
            backgrounds=w2c.new_tensor(background).expand(3, 3).contiguous(),
            with_ut=True,
            with_eval3d=True,
        )
        return shown.movedim(-1, 1), alpha.movedim(-1, 1)

    color, alpha = launch(gaussians.colors, options.background)
    row = w2c[:, None, 2]
    z = (gaussians.means[None] * row[..., :3]).sum(-1) + row[..., 3]
    weighted, weight = launch(z[..., None].expand(-1, -1, 3), (0.0, 0.0, 0.0))
    for ours in pictures:
        assert torch.equal(ours.color, color) and torch.equal(ours.alpha, alpha)
        if depth:
            assert torch.equal(ours.depth, weighted[:, :1] / weight.clamp(min=1e-10))
