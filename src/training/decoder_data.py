"""The clips that the decoder learns from, and those that are held out."""

from pathlib import Path

from ..models.data.dataset import ClipDataset
from ..models.data.registry import DatasetSpec, resolve_dataset
from ..models.data.scenes import split_scenes
from ..runtime import InputError, get_logger
from ..tokenizer.loading import load_statistics
from .decoder_config import DecoderTrainConfig
from .world_clips import untrained_tokenizer, write_world_clips

LOGGER = get_logger(__name__)


def makes_clips(config: DecoderTrainConfig) -> bool:
    """Whether the clips are those of worlds, for want of others."""
    return config.data.root is None and config.data.worlds.scenes > 0


def tokenizer_folder(config: DecoderTrainConfig) -> Path:
    """The tokenizer; a run on worlds does without a trained one."""
    folder = Path(config.tokenizer)
    if makes_clips(config) and not folder.is_dir():
        return Path(config.data.worlds.folder) / "tokenizer"
    return folder


def make_clips(config: DecoderTrainConfig) -> None:
    """Write the clips of worlds, and a tokenizer, where they are wanted and missing."""
    if makes_clips(config):
        tokenizer, worlds = tokenizer_folder(config), config.data.worlds
        if tokenizer != Path(config.tokenizer):
            untrained_tokenizer(tokenizer, worlds.frames)
        dynamic = not _registered(config).is_static
        write_world_clips(worlds, dynamic, config.data.image_size, tokenizer)


def open_data(config: DecoderTrainConfig) -> tuple[ClipDataset, ClipDataset | None]:
    """The scenes to learn from, and the held-out ones if there are enough scenes.

    Raises:
        InputError: no scenes, or not those that the settings ask for.
    """
    spec = _registered(config)
    folder = tokenizer_folder(config)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "the tokenizer's weights (vae_path)")
    statistics = load_statistics(folder) if config.reading.latents else None
    parts = (spec, config.sampling, config.data.image_size)
    everything = ClipDataset(*parts, "train", "all", statistics, config.reading)
    limit = config.reading.num_test_scenes
    held_out = split_scenes(everything.keys, "validation", 16 if limit is None else limit)
    if not held_out:
        LOGGER.warning("%s: %d scenes, none is held out", spec.root, len(everything))
        return everything, None
    training = ClipDataset(*parts, "train", "train", statistics, config.reading)
    validation = ClipDataset(*parts, "train", "validation", statistics, config.reading)
    return training, validation


def _registered(config: DecoderTrainConfig) -> DatasetSpec:
    """The data set of the registry, its folder replaced where another one is given or made."""
    names = [use.name for use in config.data.sets]
    if len(names) != 1:
        raise InputError("data_mode", names, "one data set")
    root = config.data.root
    if makes_clips(config):
        # Replaced below: which folder depends on the kind of the data set.
        spec = resolve_dataset(names[0], config.data.worlds.folder)
        root = str(spec.root / ("static" if spec.is_static else "dynamic"))
    return resolve_dataset(names[0], root)
