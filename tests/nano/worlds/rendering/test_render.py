import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nano.worlds.rendering import render
from nano.worlds.rendering.render import render_worlds
from nano.worlds.scene import Worlds, build_worlds, world_cameras
from src.geometry.cameras import Cameras, compose, invert_rigid
from src.geometry.trajectories import TrajectorySpec, make_trajectory

WIDTH, HEIGHT = 80, 44


def posed(worlds: Worlds, w2c: Tensor, width: int = WIDTH, height: int = HEIGHT) -> Cameras:
    """The worlds' own lenses at the given (frame, 4, 4) poses, the same for each world."""
    start = world_cameras(worlds, width, height)
    c2w = invert_rigid(w2c).expand(len(worlds), -1, -1, -1).contiguous()
    intrinsics = start.intrinsics[:, None].expand(-1, len(w2c), -1).contiguous()
    return Cameras(c2w, intrinsics, width, height)


def moments(worlds: Worlds, *times: float) -> Tensor:
    return torch.tensor(times).expand(len(worlds), -1).contiguous()


def mean_decibels(first: Tensor, second: Tensor) -> float:
    return float(-10 * torch.log10((first - second).square().mean()))


def test_frames_are_colours_with_contrast_and_finite_depth(still_worlds: Worlds) -> None:
    """Catches NaN from grazing rays, black or blown-out worlds and an infinite sky."""
    cameras = posed(still_worlds, torch.eye(4)[None], 48, 27)
    frames = render_worlds(still_worlds, cameras, moments(still_worlds, 0.0))
    assert frames.rgb.shape == (64, 1, 3, 27, 48) and frames.depth.shape == (64, 1, 27, 48)
    assert torch.isfinite(frames.rgb).all() and torch.isfinite(frames.depth).all()
    assert frames.rgb.min() >= 0 and frames.rgb.max() <= 1
    assert frames.depth.min() > 0.2 and frames.depth.max() <= 20.001
    mean, spread = frames.rgb.flatten(1).mean(1), frames.rgb.flatten(1).std(1)
    assert mean.min() > 0.15 and mean.max() < 0.9
    assert spread.min() > 0.04
    # The middle pixel of an odd picture looks straight ahead: its depth is 1.
    odd = posed(still_worlds, torch.eye(4)[None], 33, 19)
    centre = render_worlds(still_worlds, odd, moments(still_worlds, 0.0), 1).depth[:, 0, 9, 16]
    torch.testing.assert_close(centre, torch.ones(64), atol=1e-5, rtol=0)


def test_the_same_seed_renders_the_same_bits() -> None:
    """Catches global random numbers and scatters whose order matters."""
    pictures = []
    for _ in range(2):
        worlds = build_worlds([11, 12], dynamic=True)
        cameras = posed(worlds, make_trajectory(TrajectorySpec("left", 0.3), 2))
        pictures.append(render_worlds(worlds, cameras, moments(worlds, 0.0, 0.7)))
    assert torch.equal(pictures[0].rgb, pictures[1].rgb)
    assert torch.equal(pictures[0].depth, pictures[1].depth)


def test_a_world_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches padding that shows, mixed-up worlds, and seams between chunks of rays."""
    worlds = build_worlds([0, 1, 2, 3], dynamic=True)
    cameras = posed(worlds, make_trajectory(TrajectorySpec("right", 0.3), 3))
    times = moments(worlds, 0.0, 0.5, 1.0)
    together = render_worlds(worlds, cameras, times)
    monkeypatch.setattr(render, "CPU_NUMBERS", 1 << 22)
    for seed in range(4):
        one = build_worlds([seed], dynamic=True)
        alone = render_worlds(one, posed(one, cameras.w2c[seed]), times[:1])
        torch.testing.assert_close(alone.depth[0], together.depth[seed], atol=1e-5, rtol=1e-5)
        assert (alone.rgb[0] - together.rgb[seed]).abs().max() < 2e-3


def test_still_worlds_ignore_time_and_moving_ones_do_not() -> None:
    """Catches time that leaks into still worlds, and motion that never shows."""
    still, moving = build_worlds([4, 6]), build_worlds([4, 6], dynamic=True)
    cameras = posed(still, torch.eye(4).expand(3, 4, 4))
    rest, motion = (
        render_worlds(w, cameras, moments(w, 0.0, 0.3, 1.0), 1) for w in (still, moving)
    )
    assert torch.equal(rest.rgb[:, 0], rest.rgb[:, 1])
    torch.testing.assert_close(motion.rgb[:, 0], rest.rgb[:, 0])
    changed = (motion.depth[:, 1] - rest.depth[:, 1]).abs() > 1e-3
    assert (changed.flatten(1).any(1)).all()
    assert changed.float().mean() < 0.5


def reprojected(cameras: Cameras, frames: render.WorldFrames) -> tuple[Tensor, Tensor, Tensor]:
    """Of frame 0 seen in frame 1: depth to expect, depth there and colour there."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    fx, fy, cx, cy = cameras.intrinsics[0, 0]
    rays = torch.stack(((columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy, torch.ones(rows.shape)))
    points = (rays * frames.depth[0, 0]).flatten(1)
    pose = compose(cameras.w2c[0, 1], cameras.c2w[0, 0])
    x, y, z = compose(pose[:3, :3], points) + pose[:3, 3:]
    grid = torch.stack(((fx * x / z + cx) / WIDTH, (fy * y / z + cy) / HEIGHT), dim=-1) * 2 - 1
    both = torch.cat([1 / frames.depth[0, 1][None], frames.rgb[0, 1]])[None]
    there = functional.grid_sample(both, grid[None, None], align_corners=False)[0, :, 0]
    outside = (grid.abs() > 0.95).any(-1)
    return z.masked_fill(outside, torch.nan), 1 / there[0], there[1:]


@pytest.mark.parametrize("name", ["left", "up", "zoom_in"])
def test_two_cameras_see_the_same_points_in_the_same_colours(name: str) -> None:
    """Catches depth that is not camera z, a half-pixel shift, colours tied to the camera."""
    for seed in (0, 5):
        worlds = build_worlds([seed])
        cameras = posed(worlds, make_trajectory(TrajectorySpec(name, 0.3), 9)[[2, 6]])
        frames = render_worlds(worlds, cameras, moments(worlds, 0.0, 0.0), 1)
        expected, depth, color = reprojected(cameras, frames)
        inside = torch.isfinite(expected)
        agree = (depth / expected - 1).abs()[inside] < 2e-3
        assert inside.float().mean() > 0.5
        # The rest is hidden, or beside an edge.
        assert agree.float().mean() > 0.8
        difference = (color - frames.rgb[0, 0].flatten(1)).abs().amax(0)[inside][agree]
        assert difference.median() < 0.01
        assert difference.quantile(0.9) < 0.06


def test_adaptive_supersampling_is_as_good_as_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches edges that are missed: the mean of 25 samples a pixel is the truth."""
    worlds = build_worlds([0, 12])
    cameras = posed(worlds, torch.eye(4)[None], 2 * WIDTH, 2 * HEIGHT)
    plain, adaptive = (render_worlds(worlds, cameras, moments(worlds, 0.0), n).rgb for n in (1, 2))
    monkeypatch.setattr(render, "_edges", lambda hits, size, focal: torch.ones_like(hits.t).bool())
    double, truth = (render_worlds(worlds, cameras, moments(worlds, 0.0), n).rgb for n in (2, 5))
    assert mean_decibels(adaptive, truth) > mean_decibels(plain, truth) + 4
    assert mean_decibels(adaptive, truth) > mean_decibels(double, truth) - 1.5
    assert mean_decibels(adaptive, truth) > 36


def test_wrong_shapes_are_refused() -> None:
    """Catches a batch that is silently broadcast or cut."""
    worlds = build_worlds([0, 1])
    cameras = posed(worlds, torch.eye(4)[None], 16, 8)
    with pytest.raises(AssertionError, match="cameras"):
        render_worlds(worlds, cameras, torch.zeros(2, 3))
    with pytest.raises(AssertionError, match="worlds"):
        render_worlds(worlds[:1], cameras, torch.zeros(2, 1))
    with pytest.raises(AssertionError, match="supersample"):
        render_worlds(worlds, cameras, torch.zeros(2, 1), 0)


@pytest.mark.gpu
def test_cuda_renders_the_same_pictures() -> None:
    """Catches random numbers or kernels that differ between devices."""
    worlds = build_worlds(range(8), dynamic=True)
    cameras = posed(worlds, make_trajectory(TrajectorySpec("left", 0.3), 3), 320, 176)
    times = moments(worlds, 0.0, 0.5, 1.0)
    cpu = render_worlds(worlds, cameras, times)
    cuda = render_worlds(worlds.to("cuda"), cameras.to("cuda"), times.cuda())
    # Rays within rounding of an edge may fall to either side of it.
    close = (cuda.depth.cpu() / cpu.depth - 1).abs() < 1e-4
    assert close.float().mean() > 0.9995
    assert (cuda.rgb.cpu() - cpu.rgb).abs().amax(2)[close].quantile(0.999) < 5e-3
    again = render_worlds(worlds.to("cuda"), cameras.to("cuda"), times.cuda())
    assert torch.equal(cuda.rgb, again.rgb)
