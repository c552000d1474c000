"""A small set of clips of procedural worlds, for trainings without data.

`<folder>/static` has the six trajectories of a still scene, `<folder>/dynamic` those of a moving
one and the same six backwards, as if its video had been reversed: at any time of the scene the two
cameras of a trajectory stand at different places.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY, make_trajectory
from src.io.clip.clip import Clip, ClipPaths, is_finished, open_clip, write_clip
from src.models.recon.scene_decoder import floating_type
from src.runtime import core_pool, default_device, get_logger, progress
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import load_tokenizer, save_tokenizer
from src.training.decoder.config import WorldsConfig

from ..worlds.film import film_worlds
from ..worlds.scene import build_worlds

LOGGER = get_logger(__name__)
FPS = 24
# The latents of random weights still depend on the pictures.
UNTRAINED = {
    "encoder_block_out_channels": (16, 16, 32, 32),
    "decode_block_out_channels": (16, 16, 32, 32),
    "num_layers": 1,
}
LATENT_CHANNELS = 16


def untrained_tokenizer(folder: Path, num_frames: int) -> Path:
    """The folder of a random tokenizer with fixed weights; written unless it is there."""
    if not (folder / "config.json").is_file():
        generator_state = torch.get_rng_state()
        torch.manual_seed(0)
        length = latent_frames(num_frames)
        mean, std = torch.zeros(LATENT_CHANNELS, length), torch.ones(LATENT_CHANNELS, length)
        save_tokenizer(VideoTokenizer(UNTRAINED, mean, std), folder)
        torch.set_rng_state(generator_state)
        LOGGER.warning("%s: a tokenizer with random weights, since no trained one is given", folder)
    return folder


def write_world_clips(
    config: WorldsConfig, dynamic: bool, size: tuple[int, int], tokenizer: Path
) -> Path:
    """Write the clips that are missing, with latents and exact depth; returns their folder.

    `tokenizer` is the folder of the tokenizer for the latents, `size` height and width. Dynamic
    worlds have reversed trajectories too.
    """
    root = Path(config.folder) / ("dynamic" if dynamic else "static")
    names = [str(number) for number in range((2 if dynamic else 1) * len(MULTI_TRAJECTORY))]
    made = {"frames": config.frames, "size": list(size), "tokenizer": _fingerprint(tokenizer)}
    wanted = {seed: f"world_{seed:05d}" for seed in range(config.seed, config.seed + config.scenes)}
    missing = {
        seed: key
        for seed, key in wanted.items()
        if not all(_is_made(ClipPaths(root, name, key), made) for name in names)
    }
    if not missing:
        return root
    device = default_device()
    encoder = load_tokenizer(tokenizer, device, floating_type("auto", device))
    for seed, key in progress(missing.items(), f"clips of worlds for {root}", len(missing)):
        with core_pool(device) as pool:
            clips = _clips(seed, config, dynamic=dynamic, size=size, device=device, pool=pool)
        for name, clip in zip(names, clips, strict=True):
            full = replace(clip, latents=_latents(encoder, clip), meta={**made, "seed": seed})
            write_clip(ClipPaths(root, name, key), full)
    return root


def world_trajectories(
    seed: int, num_frames: int, dynamic: bool
) -> Float[Tensor, "traj {num_frames} 4 4"]:
    """Camera-to-world poses of the six trajectories of a world, then of the reversed ones."""
    generator = np.random.default_rng(seed)
    specs = [kind.spec(float(generator.uniform())) for kind in MULTI_TRAJECTORY]
    poses = torch.stack([invert_rigid(make_trajectory(spec, num_frames)) for spec in specs])
    return torch.cat([poses, poses.flip(1)]) if dynamic else poses


def _clips(
    seed: int,
    config: WorldsConfig,
    *,
    dynamic: bool,
    size: tuple[int, int],
    device: torch.device,
    pool: ThreadPoolExecutor,
) -> list[Clip]:
    """A world along all its trajectories, without latents; frame numbers are times of the scene."""
    worlds = build_worlds([seed], dynamic).to(device)
    times = torch.linspace(0, 1, config.frames, device=device)

    def clip(c2w: Float[Tensor, "frame 4 4"]) -> Clip:
        """The world along one trajectory."""
        film = film_worlds(
            worlds, c2w[None].to(device), times, size=size, supersample=config.supersample
        )
        lens = film.intrinsics.cpu().expand(config.frames, 4).contiguous()
        cameras = Cameras(c2w, lens, width=size[1], height=size[0])
        return Clip(cameras, FPS, film.color[0].cpu(), depth=film.depth[0].cpu())

    return list(pool.map(clip, world_trajectories(seed, config.frames, dynamic)))


@torch.no_grad()
def _latents(tokenizer: VideoTokenizer, clip: Clip) -> Float[Tensor, "channel latent_frame lh lw"]:
    assert clip.frames is not None, "a clip without pictures"
    video = clip.frames.to(tokenizer.mean.device).movedim(-1, 0)[None].float() / 127.5 - 1
    return tokenizer.statistics.normalise(tokenizer.encode(video))[0].cpu()


def _fingerprint(folder: Path) -> str:
    """A digest of the files of a tokenizer: other weights need other latents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_made(paths: ClipPaths, made: dict[str, object]) -> bool:
    """Whether a clip is complete and has the settings `made`."""
    return is_finished(paths) and made.items() <= open_clip(paths).meta().items()
