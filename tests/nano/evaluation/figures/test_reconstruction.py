import torch

from cosmos_predict1.diffusion.conditioning.cache import SourceFrames
from cosmos_predict1.diffusion.scenes.scene import Scene
from cosmos_predict1.diffusion.scenes.shots import Rig
from nano.data.clips import world_trajectories
from nano.evaluation.figures.reconstruction import (
    as_example,
    farthest_frames,
    mean_color,
    render_frames,
    unproject_gaussians,
)
from src.evaluation.metrics import clip_errors
from src.geometry.cameras import Cameras

HEIGHT, WIDTH = 24, 40
LENS = torch.tensor([36.0, 36.0, WIDTH / 2, HEIGHT / 2])


def wall() -> Scene:
    """A smooth picture on a wall that leans back and to a side: no two pixels are equally far."""
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, HEIGHT), torch.linspace(0, 1, WIDTH), indexing="ij"
    )
    image = torch.stack([rows, columns, 0.5 * (rows + columns)])[None]
    depth = (1.5 - 0.5 * rows + 0.0937 * columns)[None]
    pose = torch.eye(4)
    sources = SourceFrames(2 * image - 1, depth, LENS[None], pose[None], depth > 0)
    rig = Rig(LENS.expand(3, 4), pose.expand(3, 4, 4))
    return Scene(sources, sources.image[0], rig, 24.0, False)


def test_unprojected_pixels_show_their_picture() -> None:
    """Would catch a shift by half a pixel, colours in another range, or holes between the balls."""
    scene = wall()
    cameras = Cameras(torch.eye(4).expand(1, 1, 4, 4), LENS.expand(1, 1, 4), WIDTH, HEIGHT)
    shown = render_frames(unproject_gaussians(scene), cameras, [[0]])
    image = (scene.sources.image + 1) / 2
    inside = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    inside[..., 2:-2, 2:-2] = True
    assert clip_errors(shown, image[:, :, None], inside).psnr() > 30
    assert mean_color(scene) == tuple(image.mean(dim=(0, 2, 3)).tolist())


def test_farthest_frames() -> None:
    """Would catch the end of the circle, which is its beginning, taken for its farthest point."""
    *lines, circle = farthest_frames(world_trajectories(900_000, 17, False))
    assert lines == [16] * 5 and 3 < circle < 13


def test_frames_are_rendered_trajectory_by_trajectory() -> None:
    """Would catch pictures that are put down in the order of frames."""
    c2w = torch.eye(4).repeat(2, 3, 1, 1)
    c2w[1, :, 0, 3], c2w[:, 2, 1, 3] = 0.3, 0.2
    cameras = Cameras(c2w, LENS.expand(2, 3, 4), WIDTH, HEIGHT)
    gaussians = unproject_gaussians(wall())
    both = render_frames(gaussians, cameras, [[0, 2], [0, 2]])
    assert both.shape == (2, 3, 2, HEIGHT, WIDTH)
    for path in (0, 1):
        alone = render_frames(gaussians, cameras[torch.tensor([path])], [[0, 2]])
        assert torch.allclose(both[path], alone[0], atol=1e-5)


def test_examples_without_targets() -> None:
    """Would catch an example that the decoder can't prepare."""
    cameras = Cameras(torch.eye(4).repeat(2, 9, 1, 1), LENS.expand(2, 9, 4), WIDTH, HEIGHT)
    example = as_example(torch.zeros(2, 16, 2, HEIGHT // 8, WIDTH // 8), cameras)
    assert len(example.targets) == 0 and example.source_times[-1] == 1
