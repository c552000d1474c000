"""Contact sheets of held-out worlds: a row for each, exact pictures beside ours."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.io.image.image import write_png
from src.io.image.pixels import round_to_uint8
from src.visualization import contact_sheet

# The columns of each sheet.
COLUMNS = {
    "tokenizer": ("world", "coded") * 2,
    "depth": ("input", "estimated depth", "true depth") * 2,
    "generator": ("world", "warp", "holes filled", "generated"),
    "static": ("input", "world", "Gaussians", "unprojected input"),
    "dynamic": ("world, first frame", "middle", "last", "Gaussians, first frame", "middle", "last"),
}
Picture = Float[Tensor, "3 h w"]
Video = Float[Tensor, "clip 3 frame h w"]


@dataclass
class Sheets:
    """The pictures of the first `most` worlds of each sheet."""

    most: int
    _pictures: dict[str, list[Tensor]] = field(default_factory=dict)
    _worlds: dict[str, int] = field(default_factory=dict)

    def add_coded(self, truth: Video, coded: Video, paths: int) -> None:
        """Add the last frame of one trajectory of each world, before and after the tokenizer."""
        for clip in self._chosen("tokenizer", len(truth), paths):
            self._add("tokenizer", truth[clip, :, -1], coded[clip, :, -1])

    def add_generated(
        self, truth: Video, warps: Video, filled: Video, generated: Video, paths: int
    ) -> None:
        """Add the last frame of one trajectory of each world; warps are in [-1, 1]."""
        for clip in self._chosen("generator", len(truth), paths):
            parts = (truth, (warps + 1) / 2, filled, generated)
            self._add("generator", *(part[clip, :, -1] for part in parts))

    def add_depth(self, drawn: UInt8[Tensor, "world 3 h w 3"]) -> None:
        """Add input, estimated and true depth of each world."""
        for world in self._chosen("depth", len(drawn), 1):
            self._add("depth", *(drawn[world].movedim(-1, 1).float() / 255))

    def add_scene(self, image: Picture, truth: Video, shown: Video, plain: Video) -> None:
        """Add one world from the end of one trajectory."""
        for path in self._chosen("static", len(truth), len(truth)):
            parts = (part[path, :, 0] for part in (truth, shown, plain))
            self._add("static", image, *parts)

    def add_moments(self, truth: Video, shown: Video) -> None:
        """Add one world at all moments, from the end of one trajectory."""
        for path in self._chosen("dynamic", len(truth), len(truth)):
            self._add("dynamic", *truth[path].unbind(1), *shown[path].unbind(1))

    def write(self, folder: Path) -> dict[str, str]:
        """Write `<name>.png` for every sheet that has pictures; returns the legends."""
        legends = {}
        for name, pictures in self._pictures.items():
            stack = round_to_uint8(torch.stack(pictures)).movedim(1, -1)
            write_png(folder / f"{name}.png", contact_sheet(stack, len(COLUMNS[name])))
            legends[name] = " | ".join(COLUMNS[name])
        return legends

    def _chosen(self, name: str, clips: int, paths: int) -> list[int]:
        """Returns a clip of each further world; the trajectory changes from world to world.

        The last trajectory is left out: a circle ends where it began.
        """
        before = self._worlds.get(name, 0)
        worlds = max(min(clips // paths, self.most - before), 0)
        self._worlds[name] = before + worlds
        turns = max(paths - 1, 1)
        return [world * paths + (before + world) % turns for world in range(worlds)]

    def _add(self, name: str, *pictures: Picture) -> None:
        self._pictures.setdefault(name, []).extend(picture.cpu() for picture in pictures)
