"""Videos along a camera path: their frames, their depth, their moments, their errors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import src.reconstruct.camera_path.film as film
from src.evaluation.metrics import psnr
from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.image import to_uint8
from src.io.scene import SplatScene
from src.io.video.video import read_video, video_header
from src.reconstruct.camera_path.film import FilmConfig, moment_numbers, render_path
from src.reconstruct.camera_path.path import CameraPath
from src.rendering.options import RasterizeOptions, Render
from src.rendering.rasterize import rasterize
from src.runtime import InputError
from src.visualization import colorize_depth

COUNT, WIDTH, HEIGHT = 10, 64, 48


def gaussians(shade: float) -> Gaussians:
    """A slanted wall of large Gaussians of one colour, with holes."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-0.6, 0.6, 8), indexing="ij")
    means = torch.stack([x, y, 2 + x], dim=-1).flatten(0, 1)
    colors = torch.full((len(means), 3), shade)
    colors[:, 0] = torch.linspace(0, 1, len(means))
    return Gaussians(
        means=means,
        opacities=torch.full((len(means),), 0.9),
        scales=torch.full((len(means), 3), 0.1),
        quats=torch.eye(4)[:1].repeat(len(means), 1),
        colors=colors,
    )


@pytest.fixture
def path() -> CameraPath:
    """Ten frames to the right."""
    c2w = torch.eye(4).repeat(COUNT, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, 0.4, COUNT)
    lens = torch.tensor([50.0, 50.0, WIDTH / 2, HEIGHT / 2]).repeat(COUNT, 1)
    seconds = tuple(number / 10 for number in range(COUNT))
    return CameraPath(Cameras(c2w, lens, width=WIDTH, height=HEIGHT), seconds, 10.0)


def test_frames_are_the_renderings_of_their_cameras(path: CameraPath, tmp_path: Path) -> None:
    """Frames in another order, of another camera, background or lens; depth on a scale a frame."""
    scene = SplatScene((gaussians(0.2),), (0.0,))
    grey = (0.5, 0.5, 0.5)
    config = FilmConfig(
        video=tmp_path / "a/out.mp4",
        depth=tmp_path / "b/depth.mp4",
        background=grey,
        rasterizer="torch",
        device="cpu",
    )
    render_path(scene, path, config)
    assert video_header(config.video).fps == 10
    expected = rasterize(scene.moments[0], path.cameras, RasterizeOptions(background=grey))
    colors = to_uint8(expected.color, 0, 1).permute(0, 2, 3, 1)
    depths = colorize_depth(expected.depth[:, 0])
    for file, wanted in ((config.video, colors), (tmp_path / "b/depth.mp4", depths)):
        found = read_video(file)
        assert found.shape == wanted.shape
        ours, theirs = (part.permute(0, 3, 1, 2) / 255 for part in (found, wanted))
        # The codec halves the resolution of colours, which edges of depth show.
        least = 33 if file == config.video else 22
        assert psnr(ours, theirs).min() > least
        # The nearest frame is the right one.
        errors = (found[7].float() - wanted.float()).abs().mean(dim=(1, 2, 3))
        assert int(errors.argmin()) == 7


def test_depths_are_coloured_on_the_scale_of_all(
    path: CameraPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of the depths that misses some frames, or frames that come back changed."""
    monkeypatch.setattr(film, "MAX_SAMPLES", 1000)
    monkeypatch.setattr("src.visualization.MAX_SAMPLES", 1000)
    depth = rasterize(gaussians(0.2), path.cameras).depth[:, 0]
    with (tmp_path / "depths").open("w+b") as file:
        depths = film.DepthFile(file, COUNT, HEIGHT, WIDTH)
        depths.add(depth[:3])
        depths.add(depth[3:])
        assert torch.equal(torch.cat(list(depths.colored())), colorize_depth(depth))


@pytest.mark.parametrize(
    ("loop", "numbers"),
    [(False, [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]), (True, [0, 0, 0, 1, 1, 2, 2, 2, 0, 0])],
)
def test_a_moving_scene_follows_the_clock(loop: bool, numbers: list[int]) -> None:
    """The first moment throughout, a moment before its time, an end that is never repeated."""
    clock = [number / 10 for number in range(10)]
    assert moment_numbers(clock, (0.0, 0.25, 0.5), loop) == numbers
    # Rounded to four decimals, a third is still a third.
    assert moment_numbers([0.3333], (0.0, 1 / 3), loop) == [1]
    assert moment_numbers([-1.0, 0.5], (0.5, 1.0), False) == [0, 0]
    assert moment_numbers(clock, (0.0,), loop) == [0] * 10


def test_every_frame_shows_its_moment(path: CameraPath, tmp_path: Path) -> None:
    """A batch of frames over the end of a moment; the path's own times without effect."""
    scene = SplatScene((gaussians(0.0), gaussians(1.0)), (0.0, 0.5))
    config = FilmConfig(video=tmp_path / "out.mp4", rasterizer="torch", device="cpu")
    for seconds in (path.seconds, tuple(0.45 + 0.01 * n for n in range(COUNT))):
        render_path(scene, replace(path, seconds=seconds), config)
        blue = read_video(config.video)[:, HEIGHT // 2, WIDTH // 4, 2].float()
        assert (blue[:5] < 80).all() and (blue[5:] > 180).all()


def test_targets_are_checked_before_the_rendering(
    path: CameraPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes of rendering for a file that cannot be written, or half a result."""

    def fail(*_: object, **__: object) -> Render:
        raise AssertionError("rendered before the targets were checked")

    monkeypatch.setattr(film, "rasterize", fail)
    scene = SplatScene((gaussians(0.2),), (0.0,))
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for bad in (tmp_path / "file/out.mp4", tmp_path / "folder.mp4"):
        for video, depth in ((bad, None), (tmp_path / "good.mp4", bad)):
            with pytest.raises(InputError, match=f"{bad.name}: got no file"):
                render_path(scene, path, FilmConfig(video=video, depth=depth, device="cpu"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder.mp4"}


def test_a_missing_kernel_is_named_before_the_rendering(path: CameraPath, tmp_path: Path) -> None:
    """The slow twin where the kernels were asked for."""
    config = FilmConfig(video=tmp_path / "out.mp4", rasterizer="cuda", device="cpu")
    with pytest.raises(InputError, match="rasterize backend 'cuda'"):
        render_path(SplatScene((gaussians(0.2),), (0.0,)), path, config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"video": Path("out.gif")}, r"out.gif: got suffix '.gif'.*\.mp4"),
        ({"depth": Path("depth")}, "depth: got suffix ''"),
        ({"depth": Path("./out.mp4")}, "two files"),
        ({"background": (1.0, 2.0, 0.0)}, "background"),
        ({"background": (1.0, float("nan"), 0.0)}, "background"),
    ],
)
def test_senseless_settings_are_refused(settings: dict, reason: str) -> None:
    """A container that the encoder does not know, or depth in place of the colours."""
    with pytest.raises(InputError, match=reason):
        FilmConfig(**{"video": Path("out.mp4"), **settings})
