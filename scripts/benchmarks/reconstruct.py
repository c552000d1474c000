"""Clips on disk -> Gaussians, PLY, rendered frames, videos: in all, and step by step.

On a GPU at full size (six trajectories of 121 frames, 704 x 1280) with random weights of the
published architectures, elsewhere at a tiny one.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip, ClipPaths, write_clip
from src.io.ply.ply import write_ply
from src.io.video.video import write_video
from src.models.data.sampling import ExampleSamplingConfig
from src.models.recon.decoder import DecoderConfig, LatentRecon
from src.models.recon.heads import keep_count, keep_indices
from src.models.recon.weights import save_decoder
from src.reconstruct.config import OutputConfig, ReconstructConfig
from src.reconstruct.quality import trajectory_quality
from src.reconstruct.references import find_references
from src.reconstruct.rendering import RenderedTrajectory, render_trajectories
from src.reconstruct.results import QUALITY
from src.reconstruct.run import reconstruct
from src.reconstruct.scenes import Scenes, ScenesConfig
from src.reconstruct.weights import WeightsConfig, load_scene_decoder
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import load_statistics, save_tokenizer

from .row import Row, seconds

SECONDS_BUDGET, MEMORY_BUDGET, FORWARD_BUDGET, FORWARD_MEMORY_BUDGET = 60, 24, 1.6, 22
TRAJECTORIES = ("5", "0", "1", "2", "3", "4")
KEY = "scene"
TINY_TOKENIZER = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}
# Distance, colour, scale, rotation, opacity: depths about 1, Gaussians as wide as their cells.
HEAD_BIAS = (-4.5, 0, 0, 0, -2.4, -2.4, -2.4, 1, 0, 0, 0, 3)


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    height: int = 704
    width: int = 1280
    frames: int = 121
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(prune_ratio=0.8))
    # Arguments of the autoencoder; none for those of the published one.
    tokenizer: dict[str, object] = field(default_factory=dict)

    @property
    def gaussians(self) -> int:
        """How many there are before pruning."""
        return len(TRAJECTORIES) * self.frames * (self.height // 8) * (self.width // 8)


FULL = Size()
TINY = Size(32, 48, 9, DecoderConfig(depth=3, width=32, heads=1, prune_ratio=0.8), TINY_TOKENIZER)


def run(device: torch.device) -> list[Row]:
    """Seconds and peak memory of a whole run, then seconds of its steps."""
    size = FULL if device.type == "cuda" else TINY
    with tempfile.TemporaryDirectory() as name:
        config = _write_inputs(Path(name), size, device)
        return [*_whole(config, device), *_steps(config, size, device)]


def _write_inputs(folder: Path, size: Size, device: torch.device) -> ReconstructConfig:
    """Six clips with random latents, random weights, and a run on them."""
    torch.manual_seed(0)
    count = latent_frames(size.frames)
    tokenizer = VideoTokenizer(size.tokenizer, torch.zeros(16, count), torch.ones(16, count))
    save_tokenizer(tokenizer, folder / "tokenizer")
    model = LatentRecon(size.decoder)
    assert model.deconv.bias is not None
    with torch.no_grad():
        model.deconv.bias.copy_(torch.tensor(HEAD_BIAS))
    save_decoder(model, folder / "decoder")
    for position, name in enumerate(TRAJECTORIES):
        write_clip(ClipPaths(folder / "clips", name, KEY), synthetic_clip(size, position))
    sampling = ExampleSamplingConfig(
        num_input_frames=size.frames,
        trajectory_sampling="fixed",
        fixed_trajectories=list(TRAJECTORIES),
        target_stride=4,
    )
    root, picture = str(folder / "clips"), (size.height, size.width)
    return ReconstructConfig(
        decoder=size.decoder,
        weights=WeightsConfig(path=str(folder / "decoder"), tokenizer=str(folder / "tokenizer")),
        scenes=ScenesConfig(root=root, image_size=picture, sampling=sampling),
        output=OutputConfig(folder=str(folder / "out")),
        device="cuda" if device.type == "cuda" else "cpu",
    )


def synthetic_clip(size: Size, position: int) -> Clip:
    """Random latents, a moving pattern, and a camera that moves along one of the axes."""
    rows, columns = torch.arange(size.height), torch.arange(size.width)
    shifts = 3 * torch.arange(size.frames)
    red = ((columns + shifts[:, None]) // 4)[:, None, :].expand(-1, size.height, -1)
    green = (rows // 3)[None, :, None].expand_as(red)
    frames = torch.stack([red, green, red + green], dim=-1).to(torch.uint8)
    c2w = torch.eye(4).repeat(size.frames, 1, 1)
    sign = 1 if position < 3 else -1
    c2w[:, position % 3, 3] = sign * torch.linspace(0, 0.25, size.frames)
    focal = 0.8 * size.width
    intrinsics = torch.tensor([focal, focal, size.width / 2, size.height / 2])
    cameras = Cameras(c2w, intrinsics.repeat(size.frames, 1), size.width, size.height)
    cells = (latent_frames(size.frames), size.height // 8, size.width // 8)
    return Clip(cameras, 24, frames, 0.5 * torch.randn(16, *cells))


def _whole(config: ReconstructConfig, device: torch.device) -> list[Row]:
    """The command's work twice: the first run also compiles and tunes kernels."""
    rows = []
    for name in ("first run", "run"):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        reconstruct(config)
        elapsed = time.perf_counter() - start
        rows.append(Row(f"{name}, weights and files included", elapsed, budget=SECONDS_BUDGET))
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
            rows.append(Row(f"{name}, peak memory", peak, "GiB", budget=MEMORY_BUDGET))
    return rows


@contextmanager
def _timed(rows: list[Row], name: str) -> Iterator[None]:
    """Add the seconds of the block to `rows`."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    rows.append(Row(name, time.perf_counter() - start))


@torch.no_grad()
def _steps(config: ReconstructConfig, size: Size, device: torch.device) -> list[Row]:
    """The same, one step after another; the command overlaps reading, rendering and writing."""
    rows: list[Row] = []
    with _timed(rows, "load weights"):
        decoder = load_scene_decoder(config.weights, config.decoder, device)
    scenes = Scenes(config.scenes, load_statistics(Path(config.weights.tokenizer)))
    with _timed(rows, "read latents, cameras and reference frames"):
        example = scenes.first[0]
    with _timed(rows, "encode Pluecker maps, rays"):
        scene = decoder.prepare(example)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def forward() -> Gaussians:
        return decoder.gaussians(scene)

    kept = len(forward())
    assert kept == keep_count(size.gaussians, config.decoder.prune_ratio), f"{kept} Gaussians"
    rows.append(Row("forward, pruning included", seconds(forward, 3), budget=FORWARD_BUDGET))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        rows.append(Row("forward, peak memory", peak, "GiB", budget=FORWARD_MEMORY_BUDGET))
    scores = torch.randn(1, size.gaussians, device=device)
    ratio = config.decoder.prune_ratio
    rows.append(Row("choose the kept Gaussians", seconds(lambda: keep_indices(scores, ratio), 3)))
    gaussians = forward()
    folder = Path(config.output.folder) / "steps"
    with _timed(rows, f"write PLY, {len(gaussians)} Gaussians"):
        write_ply(folder / "scene.ply", gaussians)
    targets = example.targets
    for depth in (False, True):
        options = replace(config.render, depth=depth)
        what = "colour and depth" if depth else "colour"
        with _timed(rows, f"render {what} of {len(targets)} frames"):
            rendered = list(render_trajectories(gaussians, targets, options))
    references = find_references(example, decoder.tokenizer, config.output, {})
    assert references.color is not None
    with _timed(rows, f"PSNR and SSIM of {len(targets)} frames"):
        for part in rendered:
            trajectory_quality(part, references.color, example)
    rows.append(_video(rendered, folder))
    return rows


def _video(rendered: list[RenderedTrajectory], folder: Path) -> Row:
    """Seconds to write each trajectory as a video of its own."""
    found: list[Row] = []
    frames = [part.color.cpu() for part in rendered]
    with _timed(found, f"write {len(frames)} videos of {len(frames[0])} frames"):
        for position, clip in enumerate(frames):
            write_video(folder / f"{position}.mp4", clip, 24, QUALITY)
    return found[0]
