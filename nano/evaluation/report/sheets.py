"""Contact sheets of held-out worlds: a row for each, exact pictures beside ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from src.io.image import round_to_uint8, write_png
from src.visualization import contact_sheet

# The columns of each sheet.
COLUMNS = {
    "tokenizer": ("world", "coded") * 2,
    "depth": ("input", "estimated depth", "true depth") * 2,
    "generator": ("world", "warp", "holes filled", "generated"),
    "static": ("input", "world", "Gaussians", "unprojected input"),
    "dynamic": ("world, first frame", "middle", "last", "Gaussians, first frame", "middle", "last"),
}
Video = Float[Tensor, "clip 3 frame h w"]


@dataclass
class Sheets:
    """The pictures of the first `most` worlds of each sheet."""

    most: int
    _pictures: dict[str, list[Tensor]] = field(default_factory=dict)
    _worlds: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, paths: int, parts: Sequence[Video]) -> None:
        """Add one trajectory of each world: a row with all frames of its clip in each of `parts`.

        The trajectory changes from world to world. The last of the `paths` trajectories of a world
        is left out: a circle ends where it began.
        """
        before, turns = self._worlds.get(name, 0), max(paths - 1, 1)
        worlds = max(min(len(parts[0]) // paths, self.most - before), 0)
        self._worlds[name] = before + worlds
        for world in range(worlds):
            clip = world * paths + (before + world) % turns
            pictures = [picture.cpu() for part in parts for picture in part[clip].unbind(1)]
            self._pictures.setdefault(name, []).extend(pictures)

    def write(self, folder: Path) -> dict[str, str]:
        """Write `<name>.png` for every sheet that has pictures; returns the legends."""
        legends = {}
        for name, pictures in self._pictures.items():
            stack = round_to_uint8(torch.stack(pictures)).movedim(1, -1)
            write_png(folder / f"{name}.png", contact_sheet(stack, len(COLUMNS[name])))
            legends[name] = " | ".join(COLUMNS[name])
        return legends
