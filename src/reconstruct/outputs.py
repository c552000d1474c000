"""The files of a run: the published folder tree, and our additions to it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..io.atomic import UnwritableError

FOLDERS = ("raw", "meta", "grid", "full_output", "main_gaussians_renderings")
CHECKPOINT = re.compile(r"checkpoint-\d+")


class File(StrEnum):
    """The files of a scene, below the folder of its target time.

    `scene` is the place of the scene in the order of their keys (in an evaluation run its key),
    `position` the place of a trajectory in the given order.
    """

    # The depth wave, then all trajectories one after another.
    MAIN = "main_gaussians_renderings/rgb_{scene}.mp4"
    WAVE = "raw/rgb_wave_{scene}.mp4"
    TRAJECTORY = "raw/rgb_{scene}_view_idx_{position}.mp4"
    # The input clips, one after another.
    INPUT = "raw/input_{scene}.mp4"
    # Rendering, references and depths side by side.
    FULL = "full_output/sample_{scene}.mp4"
    PLY = "gaussians_orig/gaussians_{scene}.ply"
    # The Gaussians in other formats, before the format's suffix.
    EXPORT = "gaussians_export/gaussians_{scene}"
    # The packed Gaussians as `torch.save` writes them; the published name, but no PLY.
    TENSOR = "gaussians/gaussians_{scene}.ply"
    # The cameras of all input frames, trajectory by trajectory.
    CAMERAS = "scenes/{scene}/cameras.json"
    # PSNR and SSIM of every rendered frame that has a reference.
    METRICS = "scenes/{scene}/metrics.json"
    SHEET = "scenes/{scene}/sheet.png"
    # The name of the scene; written last, as the mark of a finished scene.
    META = "meta/sample_{scene}.json"
    # Locked while a run makes the scene.
    LOCK = "meta/.sample_{scene}.lock"
    # The inputs and settings that the scene was made from, and the files that were written.
    MADE_FROM = "scenes/{scene}/made_from.json"
    EVALUATION_MADE_FROM = "meta/made_from_{scene}.json"
    EVALUATION = "{position}/{scene}.mp4"


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
        """Returns the published tree; a level that was not chosen is left out."""
        number = CHECKPOINT.search(str(checkpoint))
        levels = [number.group()] if number else []
        if trajectories:
            levels.append("static_view_indices_fixed_" + "_".join(trajectories))
        levels += [dataset] if dataset else []
        levels += [] if time_index is None else [str(time_index)]
        return OutputTree(folder.joinpath(*levels))

    def make_folders(self) -> None:
        """Makes the folders of a published run; `UnwritableError` if the file system refuses."""
        for name in FOLDERS:
            folder = self.root / name
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UnwritableError(folder, error) from error

    def path(self, file: File, scene: int | str, position: int = 0) -> Path:
        """Returns the path of a scene's file."""
        return self.root / file.format(scene=scene, position=position)
