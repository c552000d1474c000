"""The settings of the tokenizer's training."""

from dataclasses import dataclass, field

from ...runtime import InputError
from ...tokenizer.cosmos import COMPRESSION, latent_frames
from ..optim import OptimConfig
from ..settings import LoopConfig
from .guided import GuidedStartConfig

MOST_HELD_OUT = 64
# The least and the largest value of each size of the network.
WIDTHS = ("encoder", "decoder")
SIZES = {"encoder": (1, 8192), "decoder": (1, 8192), "num_layers": (1, 100)}
SIZES |= {"latent_channels": (1, 4096)}


@dataclass
class TokenizerNetworkConfig:
    """diffusers' `AutoencoderKLCosmos` at 8x8x8; the widths' defaults are the published ones."""

    encoder: tuple[int, int, int, int] = (128, 256, 512, 512)
    decoder: tuple[int, int, int, int] = (256, 512, 512, 512)
    num_layers: int = 2
    latent_channels: int = 16

    def __post_init__(self) -> None:
        for name, (least, most) in SIZES.items():
            value = getattr(self, name)
            if not all(least <= size <= most for size in (value if name in WIDTHS else [value])):
                raise InputError(f"network.{name}", value, f"integers from {least} to {most}")

    def architecture(self) -> dict[str, object]:
        """The arguments of the class."""
        return {
            "encoder_block_out_channels": tuple(self.encoder),
            "decode_block_out_channels": tuple(self.decoder),
            "num_layers": self.num_layers,
            "latent_channels": self.latent_channels,
        }


@dataclass
class PoolConfig:
    """Worlds of one kind, each seen along one random trajectory.

    `early` and `late` are the weights with which its clips are drawn at the start and at the end
    of the run, linear in between.
    """

    worlds: int = 1000
    seed: int = 0
    dynamic: bool = False
    palette: str = "mixed"
    saturation: float = 1.0
    early: float = 1.0
    late: float = 1.0

    def __post_init__(self) -> None:
        if self.worlds < 1 or min(self.early, self.late) < 0:
            value = (self.worlds, self.early, self.late)
            raise InputError("worlds, early, late of data.pools", value, "at least 1, 0 and 0")


@dataclass(kw_only=True)
class CanvasConfig:
    """Canvases and clips of them, on the device.

    Attributes:
        share: of the clips of a batch; 0 for none.
        canvases: pictures that clips are made of.
        size: height and width of these.
        clips: that are held to draw from.
        renewed: clips that are new with each batch.
        seed: of the library, and of the first clip.
    """

    share: float = 0.0
    canvases: int = 1024
    size: tuple[int, int] = (768, 1280)
    clips: int = 2048
    renewed: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError("data.canvases.share", self.share, "a share in [0, 1]")
        least = {"canvases": 1, "clips": 1, "renewed": 0, "seed": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                value = getattr(self, name)
                raise InputError(f"data.canvases.{name}", value, f"at least {minimum}")
        if min(self.size) < 32:
            raise InputError("data.canvases.size", self.size, "sides of 32 or more")


@dataclass
class TokenizerDataConfig:
    """Where clips come from, and how much of them is seen at once.

    Attributes:
        root: folder of clips; None for worlds that are rendered into the device's memory.
        pools: those worlds.
        canvases: clips of canvases among those of worlds.
        frames: of each sample, 8k + 1.
        image_size: height and width of all clips.
        crop: height and width of the part that most of the run sees.
        full_frame_share: the last share of the run sees whole frames, whose norms have other
            statistics than those of parts.
        full_frame_batch: samples a step and process then.
        supersample: samples of a pixel at edges of worlds, along each axis.
        held_out: worlds, or clips of the folder, for validation.
        statistics_clips: clips that the statistics of the latents are taken from.
    """

    root: str | None = None
    pools: list[PoolConfig] = field(default_factory=lambda: [PoolConfig()])
    canvases: CanvasConfig = field(default_factory=CanvasConfig)
    frames: int = 17
    image_size: tuple[int, int] = (176, 320)
    crop: tuple[int, int] = (96, 160)
    full_frame_share: float = 0.15
    full_frame_batch: int = 8
    supersample: int = 2
    held_out: int = 16
    statistics_clips: int = 256

    def __post_init__(self) -> None:
        latent_frames(self.frames)
        for name in ("image_size", "crop"):
            sides = getattr(self, name)
            if any(side < COMPRESSION or side % COMPRESSION for side in sides):
                raise InputError(f"data.{name}", sides, f"multiples of {COMPRESSION}")
        if any(part > whole for part, whole in zip(self.crop, self.image_size, strict=True)):
            raise InputError("data.crop", self.crop, f"at most {self.image_size}")
        self._check_pools()
        if not 0 <= self.full_frame_share <= 1:
            raise InputError("data.full_frame_share", self.full_frame_share, "a share in [0, 1]")
        for name in ("full_frame_batch", "supersample", "statistics_clips"):
            if getattr(self, name) < 1:
                raise InputError(f"data.{name}", getattr(self, name), "at least 1")
        if not 0 <= self.held_out <= MOST_HELD_OUT:
            raise InputError("data.held_out", self.held_out, f"0 to {MOST_HELD_OUT}")

    def _check_pools(self) -> None:
        if not self.pools and self.root is None:
            raise InputError("data.pools", "none", "at least one, or a data.root")
        for name in ("early", "late"):
            if self.pools and not sum(getattr(pool, name) for pool in self.pools) > 0:
                raise InputError(f"{name} of data.pools", "0 for all", "a weight above 0")


@dataclass
class TokenizerAugmentConfig:
    """How samples are changed; shares of the samples, or ranges of factors.

    Attributes:
        color_early, color_late: how many get other colours, at the start and the end of the run.
        saturation, brightness: ranges of the factors of those.
        mirrored, reversed: left to right, and backwards in time.
        still, paused: one frame throughout, and a motion that begins late.
        pluecker, masks, holes, times: how many are not pictures but what else the network encodes:
            maps of rays, of what is known, pictures with holes, and colours that stand for times.
    """

    color_early: float = 0.8
    color_late: float = 0.3
    saturation: tuple[float, float] = (0.6, 1.6)
    brightness: tuple[float, float] = (0.6, 1.2)
    mirrored: float = 0.5
    reversed: float = 0.5
    still: float = 0.08
    paused: float = 0.08
    pluecker: float = 0.05
    masks: float = 0.03
    holes: float = 0.08
    times: float = 0.01

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float | int) and not 0 <= value <= 1:
                raise InputError(f"augment.{name}", value, "a share in [0, 1]")
        for name in ("saturation", "brightness"):
            lowest, highest = getattr(self, name)
            if not 0 <= lowest <= highest:
                raise InputError(f"augment.{name}", (lowest, highest), "0 <= lowest <= highest")
        for names in (("still", "paused"), ("pluecker", "masks", "holes", "times")):
            total = sum(getattr(self, name) for name in names)
            if total > 1:
                raise InputError(f"sum of augment's {names}", total, "at most 1")


@dataclass(frozen=True)
class TokenizerLossConfig:
    """Weights of the terms; colours are in [-1, 1]."""

    l1: float = 1.0
    l2: float = 1.0
    # L1 of the two chroma channels alone, without which colour comes late or not at all.
    chroma: float = 6.0
    lpips: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not weight >= 0:
                raise InputError(f"loss.{name}", weight, "a number >= 0")


@dataclass
class TokenizerTrainConfig:
    """A training run of the tokenizer.

    Attributes:
        planar: go through the network by `src/tokenizer/planar.py` instead of diffusers' way.
        compile: compile the step on CUDA: about a minute at the start, then fewer kernels.
        compile_full_frames: that of whole frames too, which compiles once more.
        compile_mode: of `torch.compile`, such as `default` or `max-autotune-no-cudagraphs`.
        checkpoint_dir: holds `lpips/`, which a `loss.lpips` above 0 needs.
        lpips_frames: frames of a sample that LPIPS looks at.
    """

    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            name="tokenizer",
            output_dir="outputs/training/tokenizer",
            max_steps=100_000,
            checkpoint_every=1000,
            keep_every=0,
            keep_last=2,
            batch_size=8,
            workers=8,
            ema=True,
            ema_decay=0.999,
            validate_every=1000,
        )
    )
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(learning_rate=4e-4, warmup_steps=200, beta2=0.99)
    )
    network: TokenizerNetworkConfig = field(default_factory=TokenizerNetworkConfig)
    data: TokenizerDataConfig = field(default_factory=TokenizerDataConfig)
    augment: TokenizerAugmentConfig = field(default_factory=TokenizerAugmentConfig)
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    guided: GuidedStartConfig = field(default_factory=GuidedStartConfig)
    planar: bool = True
    compile: bool = True
    compile_full_frames: bool = False
    compile_mode: str = "default"
    checkpoint_dir: str = "checkpoints"
    lpips_frames: int = 2

    def __post_init__(self) -> None:
        loop, share = self.loop, self.data.canvases.share
        if share and self.data.root is not None:
            raise InputError("data.canvases.share", share, "0 beside a data.root")
        if not self.guided.enabled:
            return
        if loop.initial_weights is not None:
            wanted = "null: guided.enabled is for new weights"
            raise InputError("loop.initial_weights", loop.initial_weights, wanted)
        if loop.max_minutes is not None and loop.total_minutes is None:
            wanted = "minutes of the run: with loop.max_minutes alone a resumed job is guided anew"
            raise InputError("loop.total_minutes", None, wanted)
