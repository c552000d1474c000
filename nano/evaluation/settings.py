"""What is evaluated, on which worlds, and where the results go."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..seeds import TEST

PARTS = ("tokenizer", "depth", "generator", "static", "dynamic")
# The order in which the demo configurations give the trajectories to the decoder.
ORDER = (5, 0, 1, 2, 3, 4)
# Where the depth of the input comes from: the world, or the small network.
SOURCES = ("true", "nano")


@dataclass(frozen=True)
class Settings:
    """One evaluation.

    Attributes:
        nano: checkpoint folder of the small weights.
        output: receives evaluation.json, seeds.csv and the sheets.
        what: some of `PARTS`.
        seeds: how many worlds of each kind.
        frames: of every clip.
        size: height and width; multiples of 16.
        stride: every so many frames are rendered from the Gaussians, and the farthest ones.
        sources: some of `SOURCES`.
        decoders: other decoders than those of `nano`, by `static` and `dynamic`.
        trajectories: which ones the decoder sees, in this order.
        pictured: how many worlds the sheets show.
        minutes: after so many, no further worlds are begun; None: all worlds are seen.
    """

    nano: Path
    output: Path
    what: tuple[str, ...] = PARTS
    seeds: int = 64
    frames: int = 17
    size: tuple[int, int] = (176, 320)
    stride: int = 4
    sources: tuple[str, ...] = SOURCES
    decoders: dict[str, Path] = field(default_factory=dict)
    trajectories: tuple[int, ...] = ORDER
    pictured: int = 6
    minutes: float | None = None

    def worlds(self, dynamic: bool) -> range:
        """The seeds of the worlds, which nothing was trained or chosen on."""
        return TEST.seeds(self.seeds, dynamic)

    def jsonable(self) -> dict[str, object]:
        """All settings as values that JSON has, paths with forward slashes."""
        return {
            **asdict(self),
            "nano": self.nano.as_posix(),
            "output": self.output.as_posix(),
            "decoders": {name: path.as_posix() for name, path in self.decoders.items()},
        }

    def wants(self, *parts: str) -> bool:
        """Whether any of `parts` is asked for."""
        return any(part in self.what for part in parts)
