"""The settings of the tokenizer's training."""

from dataclasses import dataclass, field, replace

from ...runtime import InputError
from ...tokenizer.cosmos import COMPRESSION, latent_frames
from ..optim import OptimConfig
from ..settings import OWN_LOOP, LoopConfig, check_least, check_shares
from .guided import GuidedStartConfig

MOST_HELD_OUT = 64
MOST_CHANNELS, MOST_LAYERS, MOST_LATENT_CHANNELS = 8192, 100, 4096


@dataclass(kw_only=True)
class TokenizerNetworkConfig:
    """The video autoencoder at 8x8x8; the widths' defaults are the published ones."""

    encoder: tuple[int, int, int, int] = (128, 256, 512, 512)
    decoder: tuple[int, int, int, int] = (256, 512, 512, 512)
    num_layers: int = 2
    latent_channels: int = 16

    def __post_init__(self) -> None:
        for name, sizes, most in (
            ("encoder", self.encoder, MOST_CHANNELS),
            ("decoder", self.decoder, MOST_CHANNELS),
            ("num_layers", [self.num_layers], MOST_LAYERS),
            ("latent_channels", [self.latent_channels], MOST_LATENT_CHANNELS),
        ):
            if not all(1 <= size <= most for size in sizes):
                expected = f"integers from 1 to {most}"
                raise InputError(f"network.{name}", getattr(self, name), expected)

    def architecture(self) -> dict[str, object]:
        """Returns the fields of `Architecture` that the settings decide on."""
        return {
            "encoder_block_out_channels": tuple(self.encoder),
            "decode_block_out_channels": tuple(self.decoder),
            "num_layers": self.num_layers,
            "latent_channels": self.latent_channels,
        }


@dataclass(kw_only=True)
class PoolConfig:
    """Worlds of one kind, each seen along one random trajectory.

    `early` and `late` are the weights with which its clips are drawn at the start and at the end
    of the run, linear in between. `detail` is plain, or photo for worlds with the detail of
    photographs.
    """

    worlds: int = 1000
    seed: int = 0
    dynamic: bool = False
    palette: str = "mixed"
    saturation: float = 1.0
    detail: str = "plain"
    early: float = 1.0
    late: float = 1.0

    def __post_init__(self) -> None:
        check_least("data.pools", self, {"worlds": 1, "early": 0, "late": 0})


@dataclass(kw_only=True)
class CanvasConfig:
    """Canvases and clips of them, on the device.

    Attributes:
        share: Share of the clips of a batch; 0 for none.
        canvases: Number of pictures that clips are made of.
        size: Their height and width.
        clips: Number of clips to draw from.
        renewed: Clips that are replaced with each batch.
        seed: Seed of the canvases and of the first clip.
    """

    share: float = 0.0
    canvases: int = 1024
    size: tuple[int, int] = (768, 1280)
    clips: int = 2048
    renewed: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_shares("data.canvases", self, "share")
        check_least("data.canvases", self, {"canvases": 1, "clips": 1, "renewed": 0, "seed": 0})
        if min(self.size) < 32:
            raise InputError("data.canvases.size", self.size, "sides of 32 or more")


@dataclass(kw_only=True)
class TokenizerDataConfig:
    """The clips, and the part of them that a sample shows.

    Attributes:
        root: Folder of clips; None for worlds that are rendered into the device's memory.
        pools: The worlds.
        canvases: Clips of canvases among those of worlds.
        frames: Length of each sample, 8k + 1.
        image_size: Height and width of all clips.
        crop: Height and width of the part that a sample shows in most of the run.
        full_frame_share: Last share of the run, whose samples are whole frames; their norms have
            other statistics than those of parts.
        full_frame_batch: Samples of a batch in each process then.
        supersample: Samples of a pixel at edges of worlds, along each axis.
        held_out: Worlds, or clips of the folder, for validation.
        statistics_clips: Clips on which the statistics of the latents are measured.
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
        if not self.pools and self.root is None:
            raise InputError("data.pools", "none", "at least one, or a data.root")
        for name in ("early", "late"):
            if self.pools and not sum(getattr(pool, name) for pool in self.pools) > 0:
                raise InputError(f"{name} of data.pools", "0 for all", "a weight above 0")
        check_shares("data", self, "full_frame_share")
        check_least("data", self, {"full_frame_batch": 1, "supersample": 1, "statistics_clips": 1})
        if not 0 <= self.held_out <= MOST_HELD_OUT:
            raise InputError("data.held_out", self.held_out, f"0 to {MOST_HELD_OUT}")


@dataclass(kw_only=True)
class TokenizerAugmentConfig:
    """Random changes of the samples: shares of the samples, or ranges of factors.

    Attributes:
        color_early, color_late: Share with other colours at the start and at the end of the run.
        saturation, brightness: Ranges of the factors of these colours.
        mirrored, reversed: Share that is flipped left to right, or backwards in time.
        still, paused: Share that shows one frame throughout, or whose motion begins late.
        pluecker, masks, holes, times: Share of the other signals that the network encodes: ray
            maps, masks of known pixels, pictures with holes, colours that stand for times.
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
        ranges = ("saturation", "brightness")
        check_shares("augment", self, *(name for name in vars(self) if name not in ranges))
        for name in ranges:
            lowest, highest = getattr(self, name)
            if not 0 <= lowest <= highest:
                raise InputError(f"augment.{name}", (lowest, highest), "0 <= lowest <= highest")
        for names in (("still", "paused"), ("pluecker", "masks", "holes", "times")):
            total = sum(getattr(self, name) for name in names)
            if total > 1:
                raise InputError(f"sum of augment's {names}", total, "at most 1")


@dataclass(frozen=True, kw_only=True)
class TokenizerLossConfig:
    """Weights of the terms; colours are in [-1, 1].

    `chroma` weighs the L1 of the two chroma channels alone; without it a network learns colours
    late or never. `first_frame` is the weight of the first frame of a clip, 1 or more; that of the
    others is 1. Its latent stands for one frame, the following ones stand for eight.
    """

    l1: float = 1.0
    l2: float = 1.0
    chroma: float = 6.0
    lpips: float = 0.0
    first_frame: float = 1.0

    def __post_init__(self) -> None:
        check_least("loss", self, {**dict.fromkeys(vars(self), 0), "first_frame": 1})


@dataclass(kw_only=True)
class TokenizerTrainConfig:
    """A training run of the tokenizer.

    Attributes:
        decoder_only: Keep the encoder of `loop.initial_weights`, so that its latents stay valid.
        compile: Compile the step on CUDA, which takes about a minute at the start.
        compile_full_frames: Compile the step of whole frames too.
        compile_mode: Mode of `torch.compile`, such as `default` or `max-autotune-no-cudagraphs`.
        checkpoint_dir: Holds `lpips/`, which a `loss.lpips` above 0 needs.
        lpips_frames: Frames of a sample that LPIPS compares.
    """

    loop: LoopConfig = field(
        default_factory=lambda: replace(
            OWN_LOOP,
            name="tokenizer",
            output_dir="outputs/training/tokenizer",
            max_steps=100_000,
            checkpoint_every=1000,
            batch_size=8,
            workers=8,
            ema_decay=0.999,
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
    decoder_only: bool = False
    compile: bool = True
    compile_full_frames: bool = False
    compile_mode: str = "default"
    checkpoint_dir: str = "checkpoints"
    lpips_frames: int = 2

    def __post_init__(self) -> None:
        loop, share = self.loop, self.data.canvases.share
        if share and self.data.root is not None:
            raise InputError("data.canvases.share", share, "0 beside a data.root")
        if self.decoder_only and loop.initial_weights is None:
            expected = "the folder of a tokenizer: decoder_only keeps its encoder"
            raise InputError("loop.initial_weights", None, expected)
        if not self.guided.enabled:
            return
        if loop.initial_weights is not None:
            expected = "null: guided.enabled is for new weights"
            raise InputError("loop.initial_weights", loop.initial_weights, expected)
        if loop.max_minutes is not None and loop.total_minutes is None:
            expected = "minutes of the run: with loop.max_minutes alone each job is guided anew"
            raise InputError("loop.total_minutes", None, expected)
