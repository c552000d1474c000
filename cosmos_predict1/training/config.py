"""The settings of the generator's training."""

from dataclasses import dataclass, field
from typing import Any

from src.checkpoints import find_checkpoint
from src.config.loading import find_path
from src.runtime import InputError
from src.training.optim import OptimConfig
from src.training.settings import LoopConfig, check_least, check_shares

from ..diffusion.model.architecture import TransformerConfig, parse_config, read_config

TOKENIZER = "./checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"
LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]


@dataclass(kw_only=True)
class EdmConfig:
    """The objective of Karras et al. 2022 (EDM), section 5, with condition drop-out.

    Attributes:
        log_mean: mean of ln(sigma), the noise level of a clip.
        log_std: its standard deviation.
        dropout: share of clips with the conditions of the unconditional branch: no warps, and the
            negative prompt.
    """

    log_mean: float = 0.0
    log_std: float = 1.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_least("edm", self, {"log_std": 0})
        check_shares("edm", self, "dropout")


@dataclass(kw_only=True)
class WarpConfig:
    """How the warps of a clip are made from its source; see `CacheSettings`.

    `threshold` None is that of the weights' configuration. Depth is multiplied by 1 plus a smooth
    random field of deviation `depth_noise`, because the commands use estimated depth, which errs.
    """

    threshold: float | None = None
    foreground_masking: bool = True
    depth_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.depth_noise < 0.3:
            raise InputError("warps.depth_noise", self.depth_noise, "a number in [0, 0.3)")


@dataclass(kw_only=True)
class WorldSetConfig:
    """A set of procedural worlds, each filmed along some trajectories.

    Attributes:
        static: number of still worlds.
        dynamic: number of moving worlds, whose source is the clip of a still camera.
        static_seed: of the first still world; None: the first of the allowed range.
        dynamic_seed: of the first moving world; None: likewise.
        trajectories: clips of each world, of the six; moving worlds also play them reversed.
        photo_share: share of the worlds, the last ones, with the detail of photographs.
    """

    static: int = 0
    dynamic: int = 0
    static_seed: int | None = None
    dynamic_seed: int | None = None
    trajectories: int = 3
    palette: str = "mixed"
    saturation: float = 1.0
    photo_share: float = 0.0

    def __post_init__(self) -> None:
        check_shares("worlds", self, "photo_share")
        if min(self.static, self.dynamic) < 0:
            value = (self.static, self.dynamic)
            raise InputError("static, dynamic numbers of worlds", value, "0 or more")
        if not 1 <= self.trajectories <= 6:
            raise InputError("trajectories of a world", self.trajectories, "1 to 6")


@dataclass(kw_only=True)
class GeneratorDataConfig:
    """The training clips, of a folder or of worlds, encoded once at the start.

    Attributes:
        root: folder of clips with depth; None for worlds.
        worlds: rendered at the size and length of the weights' configuration.
        worlds_at_once: rendered, warped and encoded together; bounds the memory.
        storage: of the latents: 0.25 MB a clip of 17 x 176 x 320, 22 MB at full size.
        held_out: clips of a folder for validation.
    """

    root: str | None = None
    worlds: WorldSetConfig = field(default_factory=WorldSetConfig)
    worlds_at_once: int = 32
    storage: str = "device"
    held_out: int = 16

    def __post_init__(self) -> None:
        check_least("data", self, {"worlds_at_once": 1})
        if self.storage not in ("device", "cpu"):
            raise InputError("data.storage", self.storage, "device or cpu")


@dataclass(kw_only=True)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021) instead of the weights themselves.

    Attributes:
        rank: of the adapters; 0 trains all weights.
        alpha: scale of their sum with the weights, times 1 / rank.
        targets: ends of the names of the adapted layers.
        merge: checkpoints also hold the merged weights, which generate clips.
    """

    rank: int = 0
    alpha: int = 16
    targets: list[str] = field(default_factory=lambda: [*LORA_TARGETS])
    merge: bool = True

    def __post_init__(self) -> None:
        check_least("lora", self, {"rank": 0, "alpha": 1})


@dataclass(kw_only=True)
class SampledConfig:
    """The clips that a validation samples.

    Attributes:
        worlds: held-out worlds.
        guidances: all are sampled, the first for the figures and the picture. Empty: that of the
            weights' configuration.
        pictured: clips in the picture.
    """

    worlds: WorldSetConfig = field(default_factory=lambda: WorldSetConfig(trajectories=1))
    guidances: list[float] = field(default_factory=list)
    pictured: int = 4


@dataclass(kw_only=True)
class ClipTrainConfig:
    """A training run on clips.

    Attributes:
        tokenizer: its folder.
        checkpoint_dir: holds the text encoder, for weights that have one.
        prompt: of all clips.
        negative_prompt: None for the published one.
        gradient_checkpointing: compute activations again in the backward pass.
        compile: compile the blocks; the first step takes a minute.
    """

    loop: LoopConfig = field(default_factory=lambda: LoopConfig(name="generator"))
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: GeneratorDataConfig = field(default_factory=GeneratorDataConfig)
    warps: WarpConfig = field(default_factory=WarpConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    validation: SampledConfig = field(default_factory=SampledConfig)
    tokenizer: str = TOKENIZER
    checkpoint_dir: str = "checkpoints"
    prompt: str = ""
    negative_prompt: str | None = None
    gradient_checkpointing: bool = False
    compile: bool = False


@dataclass(kw_only=True)
class GeneratorTrainConfig(ClipTrainConfig):
    """A training run of the generator.

    Attributes:
        network: sizes as in a `config.json` of weights; empty: those of `loop.initial_weights`, or
            else the published ones.
    """

    edm: EdmConfig = field(default_factory=EdmConfig)
    network: dict[str, Any] = field(default_factory=dict)


def network_config(config: GeneratorTrainConfig) -> TransformerConfig:
    """Returns the configuration of the network, or else that of the initial weights.

    Raises:
        InputError: an unknown size, one of a wrong type; initial weights that are not there.
    """
    if config.network or config.loop.initial_weights is None:
        return parse_config("network", dict(config.network))
    folder = find_path(config.loop.initial_weights)
    return read_config(find_checkpoint("generator", folder))
