from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip, ClipPaths, write_clip
from src.models.data.dataset import ClipDataset
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DATASETS, DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig, Mode
from src.tokenizer.cosmos import LatentStatistics

FRAMES, HEIGHT, WIDTH = 9, 16, 32
CHANNELS, LATENT_FRAMES = 4, 2


@dataclass(frozen=True)
class ClipFolder:
    """A folder of tiny clips, with the latents and cameras that were written into it."""

    root: Path
    latents: dict[tuple[str, str], Tensor]
    cameras: dict[tuple[str, str], Cameras]


def frame_color(trajectory: str, frame: int) -> tuple[int, int, int]:
    """The colour of a whole frame: it tells trajectory and frame."""
    return 40 + 20 * frame, 40 + 15 * (int(trajectory or 0) % 12), 120


def make_cameras(trajectory: str, count: int = FRAMES) -> Cameras:
    """A camera that turns and moves, other for every trajectory; frame 0 is no identity."""
    speed = 1 + int(trajectory or 0)
    angle = 0.3 + 0.05 * speed * torch.arange(count)
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 0], c2w[:, 0, 2] = angle.cos(), angle.sin()
    c2w[:, 2, 0], c2w[:, 2, 2] = -angle.sin(), angle.cos()
    c2w[:, 0, 3] = 0.1 * speed * torch.arange(count) + 2
    intrinsics = torch.tensor([30.0, 31.0, 16.0, 8.0]) + 0.01 * torch.arange(count)[:, None]
    return Cameras(c2w, intrinsics, WIDTH, HEIGHT)


def write_scene(
    root: Path, key: str, trajectories: Sequence[str], frames: int = FRAMES, depth: bool = False
) -> ClipFolder:
    """One scene, trajectory by trajectory; the depth of a pixel is 1 + frame, the left half 0."""
    written = ClipFolder(root, {}, {})
    generator = torch.Generator().manual_seed(sum(map(ord, key)))
    size = (CHANNELS, LATENT_FRAMES, HEIGHT // 8, WIDTH // 8)
    for name in trajectories:
        cameras = make_cameras(name, frames)
        latents = torch.randn(size, generator=generator)
        colors = torch.tensor([frame_color(name, frame) for frame in range(frames)])
        pictures = colors[:, None, None].expand(-1, HEIGHT, WIDTH, 3).to(torch.uint8)
        maps = (1.0 + torch.arange(frames))[:, None, None].repeat(1, HEIGHT, WIDTH)
        maps[:, :, : WIDTH // 2] = -1
        clip = Clip(cameras, 24.0, pictures, latents, maps if depth else None)
        write_clip(ClipPaths(root, name, key), clip)
        written.latents[name, key], written.cameras[name, key] = latents, cameras
    return written


@pytest.fixture(scope="session")
def static_clips(tmp_path_factory: pytest.TempPathFactory) -> ClipFolder:
    """Three trajectories of the scenes 2 and 10, with depth; not to be changed."""
    root = tmp_path_factory.mktemp("static")
    parts = [write_scene(root, key, ["0", "1", "2"], depth=True) for key in ("10", "2")]
    return ClipFolder(root, parts[0].latents | parts[1].latents, parts[0].cameras)


@pytest.fixture(scope="session")
def dynamic_clips(tmp_path_factory: pytest.TempPathFactory) -> ClipFolder:
    """Twelve trajectories of one scene; not to be changed."""
    root = tmp_path_factory.mktemp("dynamic")
    return write_scene(root, "clip", [str(number) for number in range(12)])


@pytest.fixture
def write() -> Callable[..., ClipFolder]:
    return write_scene


@pytest.fixture
def color_of() -> Callable[[str, int], tuple[int, int, int]]:
    return frame_color


@pytest.fixture(scope="session")
def statistics() -> LatentStatistics:
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(CHANNELS, 5, generator=generator)
    return LatentStatistics(mean, torch.rand(CHANNELS, 5, generator=generator) + 0.5)


@pytest.fixture
def static_set(
    static_clips: ClipFolder, statistics: LatentStatistics
) -> Callable[..., ClipDataset]:
    """Builds data sets of the static clips; `reading` are fields of the `ReadingConfig`."""
    spec = DatasetSpec(static_clips.root, True, min_gap=4, max_gap=6)

    def build(
        sampling: ExampleSamplingConfig,
        mode: Mode = "test",
        size: tuple[int, int] = (HEIGHT, WIDTH),
        scale: float = 1.0,
        **reading: Any,
    ) -> ClipDataset:
        config, scaled = ReadingConfig(**reading), replace(spec, scene_scale=scale)
        return ClipDataset(scaled, sampling, size, mode, statistics=statistics, reading=config)

    return build


@pytest.fixture
def dynamic_set(
    dynamic_clips: ClipFolder, statistics: LatentStatistics
) -> Callable[..., ClipDataset]:
    """The same of the dynamic clips."""
    spec = replace(DATASETS["lyra_dynamic"], root=dynamic_clips.root)

    def build(sampling: ExampleSamplingConfig, mode: Mode = "test", **reading: Any) -> ClipDataset:
        config, size = ReadingConfig(**reading), (HEIGHT, WIDTH)
        return ClipDataset(spec, sampling, size, mode, statistics=statistics, reading=config)

    return build
