"""The settings of the decoder's training, composed of those of its parts."""

from dataclasses import dataclass, field

from ...models.data.reading import ReadingConfig
from ...models.data.sampling import ExampleSamplingConfig
from ...models.recon.decoder import DecoderConfig
from ...rendering.options import RasterizeOptions
from ...runtime import InputError
from ...tokenizer.cosmos import latent_frames
from ..optim import OptimConfig
from ..settings import LoopConfig
from .losses import LossConfig

TOKENIZER = "./checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"


@dataclass
class DatasetUse:
    """A data set of the registry, how often an epoch goes through it, and another folder for it."""

    name: str = "lyra_static"
    repeat: int = 1
    root: str | None = None

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise InputError("data.sets", f"{self.name} repeated {self.repeat} times", "1 or more")


@dataclass
class WorldsConfig:
    """Which worlds become clips.

    Attributes:
        scenes: how many of each kind; 0 for none.
        frames: of each clip.
        seed: of the first world; the others follow.
        folder: where the clips are, or are written to.
        supersample: samples of a pixel at edges, along each axis.
    """

    scenes: int = 0
    frames: int = 17
    seed: int = 0
    folder: str = "outputs/nano/data"
    supersample: int = 2

    def __post_init__(self) -> None:
        if self.scenes < 0 or self.supersample < 1:
            value = (self.scenes, self.supersample)
            raise InputError("worlds.scenes, worlds.supersample", value, "at least 0 and 1")
        latent_frames(self.frames)


@dataclass
class DataConfig:
    """Which clips, at which height and width.

    Attributes:
        sets: names of the registry; several ones are all static or all dynamic.
        root: replaces the folder of every set that has none of its own.
        image_size: height and width of all pictures and cameras.
        worlds: clips that are made where there is no `root`.
    """

    sets: list[DatasetUse] = field(default_factory=lambda: [DatasetUse()])
    root: str | None = None
    image_size: tuple[int, int] = (704, 1280)
    worlds: WorldsConfig = field(default_factory=WorldsConfig)

    def __post_init__(self) -> None:
        if not self.sets:
            raise InputError("data.sets", self.sets, "at least one data set")
        if any(size < 16 or size % 16 for size in self.image_size):
            raise InputError("data.image_size", self.image_size, "multiples of 16")


@dataclass
class DecoderTrainConfig:
    """A training run of the decoder; the defaults are those of the published `default.yaml`."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    reading: ReadingConfig = field(default_factory=lambda: ReadingConfig(depth=True))
    sampling: ExampleSamplingConfig = field(default_factory=ExampleSamplingConfig)
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(checkpointing=True))
    render: RasterizeOptions = field(default_factory=RasterizeOptions)
    tokenizer: str = TOKENIZER
    # Holds `lpips/`, which a `loss.lpips` above 0 needs.
    checkpoint_dir: str = "checkpoints"
    # Render again in the backward pass instead of keeping what it needs.
    deferred: bool = True
    # Frames that go through LPIPS at once.
    lpips_chunk: int = 32
    # Of each process, on its device, for encoded Pluecker maps of trajectories that come again: at
    # 17 frames of 176x320 0.17 MB each, of full size 14 MB. 0 keeps none.
    pluecker_cache_gib: float = 2.0

    def __post_init__(self) -> None:
        if not self.pluecker_cache_gib >= 0:
            raise InputError("pluecker_cache_gib", self.pluecker_cache_gib, "0 or more")
