"""The training clips of the decoder, and the held-out ones."""

from pathlib import Path

import torch

from ...checkpoints import find_named, search_named
from ...depth.backends.video import VideoDepthBackend, VideoFrames
from ...io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from ...io.depth_file import count, write_depth_archive
from ...models.data.dataset import ClipDataset, Split, split_scenes
from ...models.data.mixture import Mixture, SceneSet
from ...models.data.registry import DatasetSpec, resolve_dataset
from ...runtime import InputError, get_logger, progress
from ...tokenizer.cosmos import LatentStatistics
from ...tokenizer.loading import load_statistics
from .. import offered
from .config import DecoderTrainConfig

LOGGER = get_logger(__name__)
# Offered by another package for runs without clips.
CLIPS_OF_WORLDS, UNTRAINED_TOKENIZER = "clips of worlds", "untrained tokenizer"


def makes_clips(config: DecoderTrainConfig) -> bool:
    """Whether the run makes clips of worlds because it is given no others."""
    data = config.data
    given = data.root is not None or any(use.root is not None for use in data.sets)
    return not given and data.worlds.scenes > 0


def tokenizer_folder(config: DecoderTrainConfig) -> Path:
    """Returns the tokenizer's folder; a run on worlds needs no trained one.

    Raises `InputError` if there is no tokenizer.
    """
    found = search_named("tokenizer", config.tokenizer)
    if found is None and makes_clips(config) and not Path(config.tokenizer).is_dir():
        return _untrained_folder(config)
    return found or find_named("tokenizer", config.tokenizer, "vae_path")


def _untrained_folder(config: DecoderTrainConfig) -> Path:
    return Path(config.data.worlds.folder) / "tokenizer"


def make_clips(config: DecoderTrainConfig) -> None:
    """Write the clips of worlds and a tokenizer, if they are needed and missing.

    Also makes the indexes of tar parts, in one process for all.
    """
    specs = _registered(config)
    if makes_clips(config):
        tokenizer, worlds = tokenizer_folder(config), config.data.worlds
        if tokenizer == _untrained_folder(config):
            offered(UNTRAINED_TOKENIZER)(tokenizer, worlds.frames)
        size = config.data.image_size
        offered(CLIPS_OF_WORLDS)(worlds, not specs[0].is_static, size, tokenizer)


def open_data(config: DecoderTrainConfig) -> tuple[SceneSet, SceneSet | None]:
    """Returns the training scenes, and held-out ones if there are enough scenes.

    Raises `InputError` for no scenes, scenes that do not fit the settings, or static and dynamic
    sets.
    """
    folder = tokenizer_folder(config)
    statistics = load_statistics(folder) if config.reading.latents else None
    pairs = [_split(config, spec, statistics) for spec in _registered(config)]
    training = [training for training, _ in pairs]
    validation = [(held_out, 1) for _, held_out in pairs if held_out is not None]
    repeats = [use.repeat for use in config.data.sets]
    return _join([*zip(training, repeats, strict=True)]), _join(validation) if validation else None


def _split(
    config: DecoderTrainConfig, spec: DatasetSpec, statistics: LatentStatistics | None
) -> tuple[ClipDataset, ClipDataset | None]:
    """Returns the training and the held-out scenes of one set."""

    def part(name: Split) -> ClipDataset:
        return ClipDataset(
            spec,
            config.sampling,
            config.data.image_size,
            mode="train",
            split=name,
            statistics=statistics,
            reading=config.reading,
        )

    everything = part("all")
    limit = config.reading.num_test_scenes
    held_out = split_scenes(everything.keys, "validation", 16 if limit is None else limit)
    if not held_out:
        LOGGER.warning("%s: %d scenes, none is held out", spec.root, len(everything))
        return everything, None
    return part("train"), part("validation")


def _join(parts: list[tuple[ClipDataset, int]]) -> SceneSet:
    """Returns the one set, or a mixture of several or repeated sets."""
    return parts[0][0] if len(parts) == 1 and parts[0][1] == 1 else Mixture(parts)


def _registered(config: DecoderTrainConfig) -> list[DatasetSpec]:
    """Returns the data sets of the registry, in the folders that are given or made."""
    specs = []
    for use in config.data.sets:
        root = use.root or config.data.root
        if makes_clips(config):
            # The folder depends on the kind of the data set.
            spec = resolve_dataset(use.name, config.data.worlds.folder)
            root = str(spec.root / ("static" if spec.is_static else "dynamic"))
        specs.append(resolve_dataset(use.name, root))
    if len({spec.is_static for spec in specs}) > 1:
        names = [use.name for use in config.data.sets]
        raise InputError("data_mode", names, "data sets of one kind, static or dynamic")
    return specs


@torch.no_grad()
def add_depth(root: Path, backend: VideoDepthBackend, overwrite: bool = False) -> tuple[int, int]:
    """Write the missing depth archives of all clips under `root`; unknown depth is 0.

    Returns the number of written archives and of those that existed. Raises `InputError` if there
    are no clips, or a video cannot be read; written archives stay.
    """
    clips = [
        ClipPaths(root, trajectory, key)
        for trajectory in list_trajectories(root)
        for key in list_keys(root, [trajectory])
    ]
    missing = [paths for paths in clips if overwrite or not _has_depth(paths)]
    for paths in progress(missing, "depth", len(missing)):
        frames = open_clip(paths).frames().movedim(-1, 1).float() / 255
        estimate = backend(VideoFrames(frames))
        known = estimate.mask & estimate.depth.isfinite() & (estimate.depth > 0)
        if not known.any():
            raise InputError(paths.rgb, "no pixel of known depth", f"depth by {backend.name}")
        write_depth_archive(paths.depth, torch.where(known, estimate.depth, 0).float().cpu())
    return len(missing), len(clips) - len(missing)


def _has_depth(paths: ClipPaths) -> bool:
    """Whether each frame has a depth map."""
    return paths.depth.is_file() and count(paths.depth) == open_clip(paths).num_frames
