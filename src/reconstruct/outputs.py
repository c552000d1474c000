"""What is written of a scene, and where: the published folder tree and what we add to it.

`index` numbers the scenes of a data set in the order of their keys, `position` the trajectories of
a scene in the order in which they were given.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..io.atomic import UnwritableError
from ..runtime import InputError

FOLDERS = ("raw", "meta", "grid", "full_output", "main_gaussians_renderings")
CHECKPOINT = re.compile(r"checkpoint-\d+")


@dataclass
class OutputConfig:
    """Where results go and which of them are written."""

    folder: str = "outputs/inference"
    fps: float = 24
    # Finished scenes: keep those that this run would make the same, and refuse the run for others,
    # or replace the others; or make all again.
    finished: Literal["refuse", "replace", "remake"] = "refuse"
    # Nothing but one video a trajectory, named by scene.
    eval_only: bool = False
    # Beside the renderings: reference frames, reference depth, the input.
    reference: bool = True
    reference_depth: bool = True
    input_video: bool = False
    # The reference is the tokenizer's decoding of the latents, not the video on disk.
    decode_latents: bool = False
    # Gaussians as a standard PLY, and as a dump of the packed tensor.
    ply: bool = True
    # The PLY has normals and `f_rest_*` too, all zero, as the original's viewer and other old ones
    # want them; four times as large.
    ply_padded: bool = False
    tensor: bool = False
    cameras: bool = True
    metrics: bool = True
    # Input, clips, renderings and depths on one picture.
    sheet: bool = True
    # Videos of several scenes at once.
    grid: bool = False
    grid_scenes: int = 4

    def __post_init__(self) -> None:
        if self.fps <= 0:
            raise InputError("output.fps", self.fps, "frames per second above 0")
        if self.grid_scenes < 1:
            raise InputError("output.grid_scenes", self.grid_scenes, "at least 1 scene")


@dataclass(frozen=True)
class OutputTree:
    """The files of all scenes at one target time."""

    root: Path

    @staticmethod
    def at(
        folder: Path,
        checkpoint: Path,
        trajectories: Sequence[str] | None,
        dataset: str | None,
        time_index: int | None,
    ) -> "OutputTree":
        """The published tree; a level that was not chosen is left out."""
        number = CHECKPOINT.search(str(checkpoint))
        levels = [number.group()] if number else []
        if trajectories:
            levels.append("static_view_indices_fixed_" + "_".join(trajectories))
        levels += [dataset] if dataset else []
        levels += [] if time_index is None else [str(time_index)]
        return OutputTree(folder.joinpath(*levels))

    def make_folders(self) -> None:
        """Make the folders that a published run makes, whether they are filled or not.

        Raises:
            UnwritableError: the file system refuses.
        """
        for name in FOLDERS:
            folder = self.root / name
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UnwritableError(folder, error) from error

    def main(self, index: int) -> Path:
        """The depth wave, then all trajectories one after another."""
        return self.root / f"main_gaussians_renderings/rgb_{index}.mp4"

    def wave(self, index: int) -> Path:
        """The depth wave alone."""
        return self.root / f"raw/rgb_wave_{index}.mp4"

    def trajectory(self, index: int, position: int) -> Path:
        """The rendering of one trajectory."""
        return self.root / f"raw/rgb_{index}_view_idx_{position}.mp4"

    def input(self, index: int) -> Path:
        """The input clips, one after another."""
        return self.root / f"raw/input_{index}.mp4"

    def full(self, index: int) -> Path:
        """Rendering, references and depths side by side."""
        return self.root / f"full_output/sample_{index}.mp4"

    def grid(self, kind: str, number: int) -> Path:
        """Several scenes at once; `kind` is `sample`, `rgb` or `input`."""
        return self.root / f"grid/{kind}_grid_{number}.mp4"

    def ply(self, index: int) -> Path:
        """The Gaussians in the 3DGS convention."""
        return self.root / f"gaussians_orig/gaussians_{index}.ply"

    def tensor(self, index: int) -> Path:
        """The packed Gaussians as `torch.save` leaves them; the published name, yet no PLY."""
        return self.root / f"gaussians/gaussians_{index}.ply"

    def cameras(self, index: int) -> Path:
        """The cameras of all input frames, trajectory by trajectory."""
        return self.root / f"scenes/{index}/cameras.json"

    def metrics(self, index: int) -> Path:
        """PSNR and SSIM of every rendered frame that has a reference."""
        return self.root / f"scenes/{index}/metrics.json"

    def sheet(self, index: int) -> Path:
        """The contact sheet."""
        return self.root / f"scenes/{index}/sheet.png"

    def meta(self, index: int) -> Path:
        """The name of the scene; written last, so that it says that the scene is finished."""
        return self.root / f"meta/sample_{index}.json"

    def lock(self, index: int) -> Path:
        """What is locked while a run makes the scene."""
        return self.root / f"meta/.sample_{index}.lock"

    def made_from(self, index: int) -> Path:
        """What the scene was made from, and the files that were written of it."""
        return self.root / f"scenes/{index}/made_from.json"

    def evaluation_made_from(self, key: str) -> Path:
        """The same of a scene of an evaluation run."""
        return self.root / f"meta/made_from_{key}.json"

    def evaluation(self, key: str, position: int) -> Path:
        """The rendering of one trajectory in an evaluation run."""
        return self.root / f"{position}/{key}.mp4"


def meta_text(key: str) -> str:
    """The content of a scene's meta file."""
    return json.dumps({"file_name": [key]}) + "\n"
