"""The seeds of procedural worlds, and the use of each of them: one table.

A world is a function of its seed and of whether things move in it. Figures that are published come
from the test seeds: nothing is trained, validated or chosen on these.
"""

from dataclasses import dataclass

from src.runtime import InputError


@dataclass(frozen=True, kw_only=True)
class SeedRanges:
    """The seeds of one use, of still and of moving worlds."""

    static: range
    dynamic: range

    def __str__(self) -> str:
        parts = (f"{part.start:,} to {part.stop - 1:,}" for part in (self.static, self.dynamic))
        return " and ".join(parts)

    def of(self, dynamic: bool) -> range:
        """The range of one kind of worlds."""
        return self.dynamic if dynamic else self.static

    def seeds(self, count: int, dynamic: bool, start: int = 0) -> range:
        """Returns `count` seeds of a kind, from number `start` of the range on."""
        return self.of(dynamic)[start : start + count]

    def check(self, setting: str, first: int, count: int, dynamic: bool) -> None:
        """Check that `count` seeds from `first` on are of this use; raises `InputError`."""
        allowed = self.of(dynamic)
        if count and not (first in allowed and first + count - 1 in allowed):
            kind = "moving" if dynamic else "still"
            expected = f"seeds of {kind} worlds in [{allowed.start}, {allowed.stop})"
            raise InputError(setting, f"{count} from {first}", expected)


TRAIN = SeedRanges(static=range(0, 100_000), dynamic=range(100_000, 900_000))
VALIDATE = SeedRanges(static=range(900_000, 910_000), dynamic=range(910_000, 920_000))
TEST = SeedRanges(static=range(920_000, 930_000), dynamic=range(930_000, 940_000))
# The pictures and the video of assets/demo.
DEMO = range(990_000, 991_000)
