"""The checked settings of a run of the generator, made from the flags of `flags.py`."""

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from src.geometry.fit import FitMode
from src.runtime import InputError, default_device
from src.tokenizer.cosmos import latent_frames

from .conditioning.cache import CacheSettings
from .hardware import HardwareConfig
from .model.architecture import TransformerConfig
from .model.speed import EXACT, Shortcuts, SpeedConfig

FEWEST_FRAMES = 9
# The flags whose fields have other names.
FLAGS = {
    "image": "input_image_path",
    "vipe": "vipe_path",
    "batch": "batch_input_path",
    "start": "vipe_starting_frame_idx",
    "rotation": "camera_rotation",
    "distance": "movement_distance",
    "spiral": "camera_gen_kwargs",
    "multi": "multi_trajectory",
    "factor": "total_movement_distance_factor",
    "flipped": "flip_supervision",
    "file": "trajectory_file",
    "num_frames": "num_video_frames",
    "offload_transformer": "offload_diffusion_transformer",
    "offload_text_encoder": "offload_text_encoder_model",
    "disable_text_encoder": "disable_prompt_encoder",
    "compile_blocks": "compile",
}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """The inputs of the scenes; `image` of the dynamic command is a video."""

    image: str | None = None
    vipe: str | None = None
    batch: str | None = None
    prompt: str = ""
    resize: FitMode = "crop"
    depth: str = "auto"
    start: int = 0
    center_depth_quantile: bool | None = None
    published_invalid_depth: bool = False
    text_to_image_model: str = ""

    def __post_init__(self) -> None:
        if self.start < 0:
            raise InputError("--vipe_starting_frame_idx", self.start, "an integer >= 0")


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """The trajectories of each scene."""

    trajectory: str = "left"
    rotation: str = "center_facing"
    distance: float = 0.3
    spiral: Mapping[str, float] | None = None
    multi: bool = False
    factor: float = 1.0
    flipped: bool = False
    file: Path | None = None

    def __post_init__(self) -> None:
        if self.file is not None and self.multi:
            raise InputError("--trajectory_file", self.file, "not with --multi_trajectory")
        if self.flipped and not self.multi:
            raise InputError("--flip_supervision", True, "only with --multi_trajectory")
        if not 0 < self.factor < float("inf"):
            raise InputError("--total_movement_distance_factor", self.factor, "a number > 0")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How clips are sampled; None stands for the value of the weights' configuration."""

    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    fps: float | None = None
    num_steps: int | None = None
    guidance: float | None = None
    seed: int = 1
    negative_prompt: str | None = None
    noise_aug_strength: float = 0.0
    filter_points_threshold: float | None = None
    published_draws: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise InputError("--seed", self.seed, "an integer in [0, 2**32)")
        if not self.noise_aug_strength >= 0:
            raise InputError("--noise_aug_strength", self.noise_aug_strength, "a number >= 0")
        for name in ("fps", "num_steps", "filter_points_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"--{name}", value, "a number > 0")
        if self.guidance is not None and not 0 <= self.guidance < float("inf"):
            raise InputError("--guidance", self.guidance, "a number >= 0")


@dataclass(frozen=True, kw_only=True)
class SdgConfig:
    """A whole run; `with_weights` fills in the values that the weights decide."""

    moving: bool
    inputs: InputConfig
    cameras: CameraConfig
    sampling: SamplingConfig
    cache: CacheSettings
    hardware: HardwareConfig
    checkpoint_dir: Path
    output: Path
    save_buffer: bool = False
    overwrite: bool = False
    speed: SpeedConfig = EXACT


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """The settings that all clips of a run share; `fps` None is that of the input video.

    A clip of `num_frames` is sampled in pieces of `piece_frames`, which share a frame.
    """

    height: int
    width: int
    num_frames: int
    piece_frames: int
    fps: float | None
    num_steps: int
    guidance: float
    shortcuts: Shortcuts = Shortcuts()

    @property
    def record(self) -> dict[str, object]:
        """The settings as JSON values, without the switches of `shortcuts` that save nothing."""
        found = asdict(self)
        del found["shortcuts"]
        return found | self.shortcuts.record

    @property
    def pieces(self) -> int:
        """The number of pieces of a clip."""
        return (self.num_frames - 1) // (self.piece_frames - 1)


def sdg_config(arguments: Namespace) -> SdgConfig:
    """Returns the run that the flags describe.

    Raises:
        InputError: flags that contradict each other or lie out of range, a number of GPUs that is
            neither 1 nor that of the processes.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if arguments.num_gpus not in (1, processes):
        expected = f"1, or as many as torchrun --nproc_per_node starts processes: {processes}"
        raise InputError("--num_gpus", arguments.num_gpus, expected)
    name = arguments.device
    device = torch.device("cpu") if name == "cpu" else default_device()
    if name == "cuda" and device.type != "cuda":
        raise InputError("--device", name, "cpu or auto: no CUDA device answers")
    interval = arguments.guidance_interval
    switches = {"device": device, "guidance_interval": tuple(interval) if interval else None}
    arguments = Namespace(**{**vars(arguments), **switches})
    hardware = _section(HardwareConfig, arguments)
    if processes % hardware.processes_per_clip:
        value = f"{hardware.processes_per_clip} processes a clip"
        expected = f"a divisor of torchrun's --nproc_per_node, here {processes}"
        raise InputError("--context_parallel, --guidance_parallel", value, expected)
    return SdgConfig(
        moving=arguments.moving,
        inputs=_section(InputConfig, arguments),
        cameras=_section(CameraConfig, arguments),
        sampling=_section(SamplingConfig, arguments),
        cache=CacheSettings(
            foreground_masking=arguments.foreground_masking,
            drop_invalid=not arguments.published_invalid_depth,
        ),
        hardware=hardware,
        checkpoint_dir=Path(arguments.checkpoint_dir).expanduser(),
        output=Path(arguments.video_save_folder).expanduser().resolve(),
        save_buffer=arguments.save_buffer,
        overwrite=arguments.overwrite,
        speed=_section(SpeedConfig, arguments),
    )


def clip_settings(
    sampling: SamplingConfig,
    network: TransformerConfig,
    max_latent_frames: int,
    moving: bool,
    speed: SpeedConfig = EXACT,
) -> ClipSettings:
    """Returns the settings of all clips: those of `sampling`, else those of the weights.

    `max_latent_frames` is what the tokenizer's statistics cover. With `moving` inputs, which are
    videos, the default frame rate is that of the video.

    Raises:
        InputError: a size, a frame count or a number of steps that the weights cannot do, or a
            switch of `speed` without an effect.
    """
    default = network.sampling
    chosen = {
        name: getattr(default, name) if getattr(sampling, name) is None else getattr(sampling, name)
        for name in ("height", "width", "num_frames", "guidance")
    }
    steps, shortcuts = speed.choose(default.num_steps, sampling.num_steps, chosen["guidance"])
    default.check_plan(steps, chosen["guidance"])
    if default.levels:
        speed.refuse_switches("none for distilled weights, which have levels of their own")
        shortcuts = Shortcuts()
    fps = sampling.fps if moving else sampling.fps or default.fps
    longest = default.num_frames
    piece = min(chosen["num_frames"], longest)
    if chosen["num_frames"] > longest and (chosen["num_frames"] - 1) % (longest - 1):
        expected = f"8k + 1 up to {longest}, or {longest - 1}k + 1, for these weights"
        raise InputError("--num_video_frames", chosen["num_frames"], expected)
    if piece < FEWEST_FRAMES or (piece - 1) % 8:
        expected = f"8k + 1, at least {FEWEST_FRAMES}"
        raise InputError("--num_video_frames", chosen["num_frames"], expected)
    network.check_size(piece, chosen["height"], chosen["width"])
    if latent_frames(piece) > max_latent_frames:
        expected = f"at most {max_latent_frames}, which the tokenizer's statistics cover"
        raise InputError("latent frames", latent_frames(piece), expected)
    return ClipSettings(piece_frames=piece, fps=fps, num_steps=steps, shortcuts=shortcuts, **chosen)


def with_weights(config: SdgConfig, network: TransformerConfig) -> SdgConfig:
    """Returns the run with the weights' filter threshold and centre where the flags give none."""
    default = network.sampling
    threshold = config.sampling.filter_points_threshold
    if threshold is None:
        threshold = default.filter_points_threshold
    about_median = config.inputs.center_depth_quantile
    if about_median is None:
        about_median = default.center_depth_quantile
    return replace(
        config,
        cache=replace(config.cache, threshold=threshold),
        inputs=replace(config.inputs, center_depth_quantile=about_median),
    )


def _section(kind: type[T], arguments: Namespace) -> T:
    """Returns a part of the configuration from the flags that the command has."""
    flags = {name: FLAGS.get(name, name) for name in kind.__annotations__}
    given = {name: getattr(arguments, flag) for name, flag in flags.items() if flag in arguments}
    return kind(**given)
