"""The settings of the decoder's training, composed of those of its parts."""

from dataclasses import dataclass, field

from ...models.data.reading import ReadingConfig
from ...models.data.sampling import ExampleSamplingConfig
from ...models.recon.decoder import DecoderConfig
from ...rendering.options import RasterizeOptions
from ...runtime import InputError
from ...tokenizer.cosmos import latent_frames
from ..optim import OptimConfig
from ..settings import LoopConfig, check_least
from .losses import LossConfig

TOKENIZER = "./checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"


@dataclass(kw_only=True)
class DatasetUse:
    """A data set of the registry, its repeats in an epoch, and another folder for it."""

    name: str = "lyra_static"
    repeat: int = 1
    root: str | None = None

    def __post_init__(self) -> None:
        check_least(f"data.sets.{self.name}", self, {"repeat": 1})


@dataclass(kw_only=True)
class WorldsConfig:
    """Procedural worlds that become clips.

    Attributes:
        scenes: Number of worlds of each kind; 0 for none.
        frames: Length of each clip.
        seed: Seed of the first world; the others follow.
        folder: Folder of the clips, which are written if they are missing.
        supersample: Samples of a pixel at edges, along each axis.
    """

    scenes: int = 0
    frames: int = 17
    seed: int = 0
    folder: str = "outputs/nano/data"
    supersample: int = 2

    def __post_init__(self) -> None:
        check_least("data.worlds", self, {"scenes": 0, "supersample": 1})
        latent_frames(self.frames)


@dataclass(kw_only=True)
class DataConfig:
    """The clips and their size.

    Attributes:
        sets: Names of the registry; several are all static or all dynamic.
        root: Replaces the folder of every set that has none of its own.
        image_size: Height and width of all pictures and cameras.
        worlds: Clips that are made if there is no `root`.
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


@dataclass(kw_only=True)
class DecoderTrainConfig:
    """A training run of the decoder; the defaults are those of the published `default.yaml`.

    Attributes:
        checkpoint_dir: Holds `lpips/`, which a `loss.lpips` above 0 needs.
        deferred: Render again in the backward pass, which saves memory.
        lpips_chunk: Frames that go through LPIPS at once.
        pluecker_cache_gib: Device memory of each process for encoded Pluecker maps of trajectories
            that come again: 0.17 MB each at 17 frames of 176x320, 14 MB at full size. 0 for none.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    reading: ReadingConfig = field(default_factory=lambda: ReadingConfig(depth=True))
    sampling: ExampleSamplingConfig = field(default_factory=ExampleSamplingConfig)
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(checkpointing=True))
    render: RasterizeOptions = field(default_factory=RasterizeOptions)
    tokenizer: str = TOKENIZER
    checkpoint_dir: str = "checkpoints"
    deferred: bool = True
    lpips_chunk: int = 32
    pluecker_cache_gib: float = 2.0

    def __post_init__(self) -> None:
        if not self.pluecker_cache_gib >= 0:
            raise InputError("pluecker_cache_gib", self.pluecker_cache_gib, "at least 0")
