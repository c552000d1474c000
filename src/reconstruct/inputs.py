"""The inputs of a run: the scenes of a data set and their times, the weights and their types."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from ..checkpoints import AVERAGE, find_named
from ..checkpoints.opening import open_weights
from ..checkpoints.steps import PUBLISHED, newest_sound
from ..io.clip.clip import ClipPaths, open_clip
from ..models.data.dataset import ClipDataset
from ..models.data.example import Example
from ..models.data.reading import ReadingConfig
from ..models.data.registry import resolve_dataset
from ..models.data.sampling import ExampleSamplingConfig
from ..models.recon.decoder import (
    CONFIG_NAME,
    NOT_STORED,
    WEIGHTS_NAME,
    DecoderConfig,
    load_decoder,
    read_config,
)
from ..models.recon.scene_decoder import SceneDecoder, TypeName, cast_trunk, floating_type
from ..runtime import InputError, get_logger
from ..tokenizer.cosmos import LatentStatistics
from ..tokenizer.loading import load_tokenizer

LOGGER = get_logger(__name__)
# Files of the weights in a checkpoint folder: ours, then the published one.
IN_CHECKPOINT = (WEIGHTS_NAME, PUBLISHED)


@dataclass(kw_only=True)
class ScenesConfig:
    """The data set, and the parts of it that are read.

    Attributes:
        dataset: a name of the registry.
        root: a folder instead of the registered one.
        image_size: height and width of all pictures.
        sampling: trajectories and targets; `times` replace its `target_frame`.
        reading: the parts of a scene.
        times: input frames at whose times a dynamic scene is reconstructed; None for the one time
            of `sampling`.
    """

    dataset: str = "lyra_static_demo"
    root: str | None = None
    image_size: tuple[int, int] = (704, 1280)
    sampling: ExampleSamplingConfig = field(default_factory=ExampleSamplingConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    times: list[int] | None = None

    def __post_init__(self) -> None:
        last = self.sampling.num_input_frames - 1
        expected = f"frames between 0 and {last}"
        if self.times is not None and not self.times:
            raise InputError("target times", self.times, f"{expected}, at least one")
        # All are checked now: the last one may be hours away.
        wrong = [time for time in self.times or () if not 0 <= time <= last]
        if wrong:
            raise InputError("target times", wrong, expected)


class Scenes:
    """The scenes of a data set in the order of their keys, each at all times.

    Attributes:
        first: the scenes at the first time.
        root: the folder of the clips, or of tar parts as if they were unpacked.
        trajectories: the possible inputs.
    """

    def __init__(self, config: ScenesConfig, statistics: LatentStatistics) -> None:
        """Finds the scenes and checks the first one; see `ClipDataset`."""
        self._config, self._statistics = config, statistics
        self._spec = resolve_dataset(config.dataset, config.root)
        self.times: Sequence[int | None] = config.times or [config.sampling.target_frame]
        self.first = self._open(self.times[0])
        self._datasets = {self.times[0]: self.first}
        self.keys, self.root = self.first.keys, self._spec.root
        self.trajectories = self.first.sources

    def settings(self) -> dict[str, object]:
        """Returns the settings that change what a scene becomes."""
        config, reading = self._config, self._config.reading
        parts = {"latents": reading.latents, "color": reading.color, "depth": reading.depth}
        sampling = asdict(config.sampling)
        return {"image_size": config.image_size, "sampling": sampling, "reading": parts}

    def at_time(self, example: Example, index: int, time: int | None) -> Example:
        """Returns the scene at another time; inputs stay, targets may change."""
        if time == self.times[0]:
            return example
        frozen = self._config.sampling.freeze_time and example.target_frame is not None
        if frozen and time is not None:
            return example.at_time(time)
        if time not in self._datasets:
            self._datasets[time] = self._open(time)
        return self._datasets[time][index]

    def meta(self, example: Example) -> dict[str, object]:
        """Returns the description of the scene's first clip; empty for published clips."""
        return open_clip(ClipPaths(self.root, example.trajectories[0], example.key)).meta()

    def _open(self, time: int | None) -> ClipDataset:
        return ClipDataset(
            self._spec,
            replace(self._config.sampling, target_frame=time),
            self._config.image_size,
            statistics=self._statistics,
            reading=self._config.reading,
        )


@dataclass(kw_only=True)
class WeightsConfig:
    """The places of the weights, and the types that they are used in.

    Without `path` the decoder is the checkpoint `name` (default: the newest sound one) of the
    training run in `output_dir`. With `average` the moving average replaces the weights if the
    checkpoint has one. `chosen` are settings of the decoder that may differ from those stored
    beside the weights. `auto` types are bfloat16 on CUDA and float32 elsewhere.
    """

    path: str | None = None
    name: str | None = None
    average: bool = True
    chosen: tuple[str, ...] = ()
    output_dir: str = "outputs/training/cosmos3dgs"
    tokenizer: str = "checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"
    trunk_type: TypeName = "auto"
    tokenizer_type: TypeName = "auto"


def find_decoder(config: WeightsConfig) -> Path:
    """Returns the file, or our folder, with the decoder's weights; `InputError` without any."""
    if config.path is not None:
        path = Path(config.path)
        if not path.exists():
            raise InputError(path, "no such file", "a checkpoint of the decoder (ckpt_path)")
        average = path / AVERAGE
        return average if config.average and average.is_file() else path
    output_dir = Path(config.output_dir)
    if config.name is not None:
        return _weights_in(output_dir / config.name, config.average)
    newest = newest_sound(
        output_dir, lambda folder: open_weights(_weights_in(folder, config.average))
    )
    if newest is None:
        expected = "a checkpoint-N folder of a training run, or ckpt_path=FILE"
        raise InputError(output_dir, "no checkpoint", expected)
    return _weights_in(newest, config.average)


def find_tokenizer(config: WeightsConfig) -> Path:
    """Returns the tokenizer's folder; `InputError` if there is none."""
    return find_named("tokenizer", config.tokenizer, "vae_path")


def load_scene_decoder(
    weights: WeightsConfig, decoder: DecoderConfig, device: torch.device
) -> SceneDecoder:
    """Loads the decoder, and when it is needed the tokenizer, on `device`, frozen, in their types.

    Raises:
        InputError: weights that are missing or don't fit, settings other than the stored ones, a
            tokenizer type that the CPU does not support.
    """
    dtype = floating_type(weights.tokenizer_type, device)
    if device.type == "cpu" and dtype != torch.float32:
        raise InputError("tokenizer_type", weights.tokenizer_type, "float32 on the CPU")
    path = find_decoder(weights)
    kind = "the moving average of the weights" if path.name == AVERAGE else "the weights"
    LOGGER.info("decoder: %s, %s", path, kind)
    check_configuration(path, decoder, weights.chosen)
    model = load_decoder(path, decoder, device=device).requires_grad_(False)
    cast_trunk(model, floating_type(weights.trunk_type, device))
    return SceneDecoder(model, partial(load_tokenizer, find_tokenizer(weights), device, dtype))


def check_configuration(path: Path, decoder: DecoderConfig, chosen: Collection[str] = ()) -> None:
    """Raises for weights whose stored settings differ from the configured ones.

    Most weights load with other settings as well, and give another scene unnoticed.

    Raises:
        InputError: a setting, other than the `chosen` ones, that differs from the stored one.
    """
    stored_at = path / CONFIG_NAME if path.is_dir() else path.with_name(CONFIG_NAME)
    if not (path.is_dir() or path.suffix == ".safetensors") or not stored_at.is_file():
        return
    stored, given = asdict(read_config(stored_at)), asdict(decoder)
    for name in sorted(stored.keys() - NOT_STORED - set(chosen)):
        if stored[name] != given[name]:
            found = f"decoder.{name} = {stored[name]!r}"
            expected = (
                f"{given[name]!r}, as configured (config_path); model.decoder.{name}={given[name]} "
                "insists on it"
            )
            raise InputError(stored_at, found, expected)


def _weights_in(folder: Path, average: bool) -> Path:
    """Returns the file of the decoder in a checkpoint folder."""
    for name in (AVERAGE, *IN_CHECKPOINT) if average else IN_CHECKPOINT:
        if (folder / name).is_file():
            return folder / name
    raise InputError(folder, "no weights", f"one of {', '.join(map(str, IN_CHECKPOINT))}")
