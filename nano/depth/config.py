"""The settings of the depth network's training."""

from dataclasses import dataclass, field, replace

from src.depth.backends.nano import NanoDepthConfig
from src.runtime import InputError
from src.training.optim import OptimConfig
from src.training.settings import OWN_LOOP, LoopConfig, check_least, check_shares

from ..seeds import TRAIN

MOST_HELD_OUT = 64


@dataclass(kw_only=True)
class DepthDataConfig:
    """The single frames with depth.

    Attributes:
        root: a folder of clips with depth archives; None for frames of worlds.
        worlds: their number, over all processes.
        dynamic_share: the share of worlds with moving things.
        photo_share: the share of worlds, the last ones, with the detail of photographs.
        frames: frames of each world or clip.
        pool_size: height and width of the stored frames, from which the network's input is cut.
        supersample: samples of a pixel at edges, along each axis.
        shortest_lens: the lens of a world's frames is its own times a number from here to 1.
        held_out: worlds, or scenes of the folder, that are kept for validation.
        held_out_frames: frames of each of these.
        seed: of the first world, and of all draws.
    """

    root: str | None = None
    worlds: int = 4096
    dynamic_share: float = 0.25
    photo_share: float = 0.0
    frames: int = 12
    pool_size: tuple[int, int] = (224, 400)
    supersample: int = 2
    shortest_lens: float = 1.0
    held_out: int = 32
    held_out_frames: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("worlds", "frames", "held_out_frames", "supersample")
        check_least("data", self, dict.fromkeys(counts, 1))
        check_shares("data", self, "dynamic_share", "photo_share")
        if not 0.1 <= self.shortest_lens <= 1:
            raise InputError("data.shortest_lens", self.shortest_lens, "a number in [0.1, 1]")
        if not 0 <= self.held_out <= MOST_HELD_OUT:
            raise InputError("data.held_out", self.held_out, f"0 to {MOST_HELD_OUT}")
        TRAIN.check("data.seed, data.worlds", self.seed, self.worlds, dynamic=False)


@dataclass(kw_only=True)
class DepthAugmentConfig:
    """The augmentation of frames.

    Attributes:
        closest: the smallest crop, as a share of the frame's sides.
        shift: the largest shift of a crop's centre, as a share of the frame's sides.
        photometric: the strength of changes of colours and sharpness, in [0, 1].
        borders: the probability of black or blurred bars.
    """

    closest: float = 0.5
    shift: float = 0.05
    photometric: float = 1.0
    borders: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.closest <= 1:
            raise InputError("augment.closest", self.closest, "a number in (0, 1]")
        check_shares("augment", self, "shift", "photometric", "borders")


@dataclass(kw_only=True)
class DepthLossConfig:
    """The weights of the terms in `losses.py`."""

    shape: float = 1.0
    scale: float = 0.2
    gradient: float = 0.5
    mask: float = 0.1
    focal: float = 0.3

    def __post_init__(self) -> None:
        check_least("loss", self, dict.fromkeys(vars(self), 0))


@dataclass(kw_only=True)
class DepthTrainConfig:
    """A training run of the nano depth network."""

    loop: LoopConfig = field(
        default_factory=lambda: replace(
            OWN_LOOP,
            name="depth",
            output_dir="outputs/nano/training/depth",
            max_steps=20_000,
            checkpoint_every=500,
            batch_size=96,
            workers=0,
            ema_decay=0.998,
        )
    )
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(learning_rate=2e-3, warmup_steps=200, beta2=0.99)
    )
    data: DepthDataConfig = field(default_factory=DepthDataConfig)
    augment: DepthAugmentConfig = field(default_factory=DepthAugmentConfig)
    loss: DepthLossConfig = field(default_factory=DepthLossConfig)
    network: NanoDepthConfig = field(default_factory=NanoDepthConfig)
    # Compile the network on CUDA: takes a minute at the start, then trains faster.
    compile: bool = True

    def __post_init__(self) -> None:
        size, seen = self.data.pool_size, (self.network.height, self.network.width)
        if any(side < 16 or side % 16 for side in (*size, *seen)):
            value = f"data.pool_size {size}, network {seen}"
            raise InputError("sizes of pictures", value, "multiples of 16")
