"""The settings of an evaluation."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..seeds import TEST

PARTS = ("tokenizer", "depth", "generator", "static", "dynamic")
# The order in which the demo configurations give the trajectories to the decoder.
ORDER = (5, 0, 1, 2, 3, 4)
# The depth of the input: that of the world, or the estimate of the small network.
SOURCES = ("true", "nano")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One evaluation.

    Attributes:
        nano: checkpoint folder of the small weights.
        output: receives evaluation.json, seeds.csv and the sheets.
        what: some of `PARTS`.
        seeds: number of worlds of each kind.
        frames: length of each clip.
        size: height and width; multiples of 16.
        stride: step between the frames that are rendered, besides the farthest ones.
        sources: some of `SOURCES`.
        decoders: other decoders than those of `nano`, by `static` and `dynamic`.
        trajectories: input of the decoder, in this order.
        pictured: number of worlds on the sheets.
        minutes: start no more worlds after so long; None: no limit.
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
        """The seeds of the worlds: test seeds, which nothing was trained or chosen on."""
        return TEST.seeds(self.seeds, dynamic)

    def jsonable(self) -> dict[str, object]:
        """Returns all settings as JSON values, paths with forward slashes."""
        return {
            **asdict(self),
            "nano": self.nano.as_posix(),
            "output": self.output.as_posix(),
            "decoders": {name: path.as_posix() for name, path in self.decoders.items()},
        }

    def wants(self, *parts: str) -> bool:
        """Whether any of `parts` is asked for."""
        return any(part in self.what for part in parts)
