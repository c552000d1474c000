"""The generator's sizes and defaults, stored in the `config.json` beside its weights.

Sizes have the names of diffusers' `CosmosTransformer3DModel`; keys that diffusers does not have are
under `gen3c`. The defaults are those of the published weights, which come without such a file.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from src.checkpoints import layout
from src.io.cameras.file import FASTEST
from src.io.json_object import is_number, read_json_object, write_json
from src.runtime import InputError, get_logger
from src.tokenizer.cosmos import COMPRESSION, latent_frames

LOGGER = get_logger(__name__)
RopePrecision = Literal["exact", "bf16"]
TextEncoder = Literal["t5", "none"]
CLASS_NAME = "CosmosTransformer3DModel"
CONFIG_NAME = "config.json"
PUBLISHED_FILE = "model.pt"
EXTRAS = "gen3c"
CHOICES = {"rope_precision": get_args(RopePrecision), "text_encoder": get_args(TextEncoder)}
PATCH = 2
# Bounds that no network, picture or clip exceeds, so that a small file can't fill the memory.
MOST, MOST_LAYERS = 65536, 1024
# GEN3C's variant of diffusers' class; another value means another network.
FIXED = {
    "patch_size": [1, PATCH, PATCH],
    "concat_padding_mask": True,
    "extra_pos_embed_type": "learnable",
    "use_crossattn_projection": False,
    "img_context_dim_in": None,
    "controlnet_block_every_n": None,
}
# Keys of diffusers that have no effect with the fixed values above.
IDLE = (
    "crossattn_proj_in_channels",
    "encoder_hidden_states_channels",
    "img_context_num_tokens",
    "img_context_dim_out",
)


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """The defaults of a run: size in pixels, frames, steps, guidance.

    `filter_points_threshold` is for the 3D cache (see `CacheSettings`): in a smaller picture, depth
    changes more from pixel to pixel. With `center_depth_quantile`, trajectories through a video
    that brings its depth turn about the median depth instead of depth 1. `levels` are the noise
    levels of distilled weights, one for each step; these weights take no guidance. The first noise
    is multiplied by `initial_noise`, from 0 to 1: with less noise, samples are nearer to the mean
    of what the weights hold possible, and vary less.
    """

    height: int = 704
    width: int = 1280
    num_frames: int = 121
    fps: float = 24.0
    num_steps: int = 35
    guidance: float = 1.0
    text_encoder: TextEncoder = "t5"
    filter_points_threshold: float = 0.05
    center_depth_quantile: bool = False
    levels: tuple[float, ...] = ()
    initial_noise: float = 1.0

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.num_frames, self.fps, self.num_steps) <= 0:
            raise InputError("sampling defaults", self, "positive numbers")
        if self.fps > FASTEST:
            raise InputError("fps", self.fps, f"at most {FASTEST:g}")
        if self.guidance < 0:
            raise InputError("guidance", self.guidance, "a number >= 0")
        if not self.filter_points_threshold > 0:
            value = self.filter_points_threshold
            raise InputError("filter_points_threshold", value, "a number > 0")
        if self.levels and not all(a > b for a, b in itertools.pairwise((*self.levels, 0.0))):
            raise InputError("levels", self.levels, "falling noise levels > 0")
        if not 0 <= self.initial_noise <= 1:
            raise InputError("initial_noise", self.initial_noise, "a number from 0 to 1")
        if self.levels and self.initial_noise != 1:
            expected = "1: distilled weights learnt with all of the noise"
            raise InputError("initial_noise", self.initial_noise, expected)
        self.check_plan(self.num_steps, self.guidance)

    def check_plan(self, num_steps: int, guidance: float) -> None:
        """Raise `InputError` for steps or guidance that distilled weights cannot do."""
        if self.levels and num_steps != len(self.levels):
            levels = ", ".join(f"{level:g}" for level in self.levels)
            expected = f"{len(self.levels)}: these weights were distilled to the levels {levels}"
            raise InputError("num_steps", num_steps, expected)
        if self.levels and guidance:
            expected = "0: these weights were distilled with their guidance"
            raise InputError("guidance", guidance, expected)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the transformer; `max_size` in latent frames, latent rows and latent columns.

    The published program rounds the rotary angles to bfloat16, by up to 0.15 rad, and its network
    may have learned them so; `rope_precision` "exact" keeps them in float32.
    """

    in_channels: int = 81
    out_channels: int = 16
    num_attention_heads: int = 32
    attention_head_dim: int = 128
    num_layers: int = 28
    mlp_ratio: float = 4.0
    text_embed_dim: int = 1024
    adaln_lora_dim: int = 256
    max_size: tuple[int, int, int] = (128, 240, 240)
    rope_scale: tuple[float, float, float] = (2.0, 1.0, 1.0)
    rope_precision: RopePrecision = "bf16"
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)

    def __post_init__(self) -> None:
        sizes = [value for name, value in self._own if name not in ("max_size", "rope_scale")]
        if min(*sizes, *self.max_size, *self.rope_scale) <= 0 or self.warp_channels < 0:
            expected = "positive numbers, in_channels > out_channels"
            raise InputError("generator sizes", self, expected)
        # A rotary axis of two channels has no second frequency to scale towards.
        if self.attention_head_dim % 2 or self.attention_head_dim < 12:
            raise InputError("attention_head_dim", self.attention_head_dim, "an even number >= 12")

    @property
    def width(self) -> int:
        """Width of a token."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def warp_channels(self) -> int:
        """Channels of the warp latents: all but the sample's and the condition mask's."""
        return self.in_channels - self.out_channels - 1

    @property
    def architecture(self) -> dict[str, Any]:
        """The arguments of diffusers' class."""
        stored = {name: list(part) if isinstance(part, tuple) else part for name, part in self._own}
        return stored | FIXED

    @property
    def _own(self) -> list[tuple[str, Any]]:
        extras = ("rope_precision", "sampling")
        return [(f.name, getattr(self, f.name)) for f in fields(self) if f.name not in extras]

    def check_size(self, num_frames: int, height: int, width: int) -> None:
        """Raise `InputError` for a frame count or a picture size that these weights cannot do."""
        step = COMPRESSION * PATCH
        frames, rows, columns = self.max_size
        for name, value, limit in (("height", height, rows), ("width", width, columns)):
            if value <= 0 or value % step or value > limit * COMPRESSION:
                expected = f"a multiple of {step}, at most {limit * COMPRESSION} for these weights"
                raise InputError(name, value, expected)
        if latent_frames(num_frames) > frames:
            longest = (frames - 1) * COMPRESSION + 1
            raise InputError("number of frames", num_frames, f"at most {longest} for these weights")


def read_config(folder: Path) -> TransformerConfig:
    """Reads the configuration in `folder`; returns the published one without a file.

    Beside a published `model.pt`, a file of another class belongs to another program and is
    ignored.

    Raises:
        InputError: malformed JSON, an unknown key, a wrong type, or another network.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        return TransformerConfig()
    published = layout("generator", folder) == (PUBLISHED_FILE,)
    try:
        values = read_json_object(path)
    except InputError:
        if published:
            LOGGER.info("%s is no JSON object, so it is not ours, and is not read", path)
            return TransformerConfig()
        raise
    name = values.get("_class_name")
    if name is None or (published and name != CLASS_NAME):
        return TransformerConfig()
    if name != CLASS_NAME:
        raise InputError(path, name, CLASS_NAME)
    return parse_config(path, values)


def parse_config(source: object, values: Mapping[str, Any]) -> TransformerConfig:
    """Returns the configuration with the `values` of a file, which errors call `source`.

    Raises:
        InputError: an unknown key, a wrong type, or another network.
    """
    sizes: dict[str, Any] = {k: value for k, value in values.items() if not k.startswith("_")}
    extras = sizes.pop(EXTRAS, {})
    if not isinstance(extras, dict):
        raise InputError(source, f"{EXTRAS} = {extras!r}", "an object")
    extras = dict(extras)
    for name, value in FIXED.items():
        if (found := sizes.pop(name, value)) != value:
            raise InputError(source, f"{name} = {found!r}", repr(value))
    sizes = {name: value for name, value in sizes.items() if name not in IDLE}
    if "rope_precision" in extras:
        sizes["rope_precision"] = extras.pop("rope_precision")
    _check_values(source, sizes, TransformerConfig())
    _check_values(source, extras, SamplingDefaults())
    for part in (sizes, extras):
        part |= {name: tuple(value) for name, value in part.items() if isinstance(value, list)}
    try:
        return TransformerConfig(**sizes, sampling=SamplingDefaults(**extras))
    except InputError as error:
        raise InputError(source, f"{error.source} = {error.value}", error.expected) from error


def write_config(config: TransformerConfig, folder: Path) -> None:
    """Write `config.json` into `folder`."""
    extras = {"rope_precision": config.rope_precision} | asdict(config.sampling)
    # Few weights have them; other programs know the other keys.
    if not config.sampling.levels:
        del extras["levels"]
    if config.sampling.initial_noise == 1:
        del extras["initial_noise"]
    stored = {"_class_name": CLASS_NAME} | config.architecture | {EXTRAS: extras}
    write_json(folder / CONFIG_NAME, stored)


def _check_values(
    source: object, values: Mapping[str, object], defaults: TransformerConfig | SamplingDefaults
) -> None:
    """Raise `InputError` for a key that `defaults` lacks, or a value of another type."""
    known = {part.name: getattr(defaults, part.name) for part in fields(defaults)}
    known.pop("sampling", None)
    for name, value in values.items():
        if name not in known:
            raise InputError(source, f"unknown key {name!r}", f"keys among {sorted(known)}")
        if name in CHOICES and value not in CHOICES[name]:
            raise InputError(source, f"{name} = {value!r}", f"one of {CHOICES[name]}")
        if not _alike(value, known[name]):
            raise InputError(source, f"{name} = {value!r}"[:200], f"a value like {known[name]!r}")
        most = MOST_LAYERS if name == "num_layers" else MOST
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number > most:
                raise InputError(source, f"{name} = {value!r}"[:200], f"at most {most}")


def _alike(value: object, default: object) -> bool:
    """Whether `value` has the type of `default`, where an int is a float and a list a tuple."""
    if isinstance(default, tuple):
        if not isinstance(value, list) or len(value) != (len(default) or len(value)):
            return False
        # An empty default stands for any number of noise levels.
        return all(map(_alike, value, default or (0.0,) * len(value)))
    if isinstance(default, float):
        return is_number(value)
    return type(value) is type(default)
