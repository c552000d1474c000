"""The settings of a run, and the tree of files that it writes: published ones and our additions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from ..export.chosen import check_names, of_moments
from ..io.atomic import UnwritableError
from ..models.recon.decoder import DecoderConfig
from ..rendering.options import RasterizeOptions
from ..rendering.rasterize import Backend
from ..runtime import InputError
from .inputs import ScenesConfig, WeightsConfig

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


@dataclass(kw_only=True)
class OutputConfig:
    """The results that are written, and their folder."""

    folder: str = "outputs/inference"
    fps: float = 24
    # Finished scenes stay if this run would make the same. Others stop the run, or are replaced;
    # `remake` makes every scene again.
    finished: Literal["refuse", "replace", "remake"] = "refuse"
    # Only one video a trajectory, named by scene.
    eval_only: bool = False
    # Beside the renderings: reference frames, reference depth, the input.
    reference: bool = True
    reference_depth: bool = True
    input_video: bool = False
    # The reference is decoded from the latents instead of read from the video on disk.
    decode_latents: bool = False
    # Gaussians in formats of `src/export/formats.py`; without `ply` the standard PLY is left out.
    export_formats: list[str] = field(default_factory=lambda: ["ply"])
    # Gaussians as a standard PLY, and as a dump of the packed tensor.
    ply: bool = True
    # The PLY has normals and `f_rest_*` too, all zero, for the original's viewer and other old
    # ones; four times as large.
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
        self.export_formats = check_names("export_formats", self.export_formats)

    @property
    def writes_ply(self) -> bool:
        """Whether scenes get their standard PLY."""
        return self.ply and "ply" in self.export_formats

    @property
    def other_formats(self) -> list[str]:
        """The formats beside the standard PLY; none in an evaluation."""
        return [] if self.eval_only else [name for name in self.export_formats if name != "ply"]


@dataclass(kw_only=True)
class ReconstructConfig:
    """All settings of a run."""

    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    render: RasterizeOptions = field(default_factory=RasterizeOptions)
    rasterizer: Backend = "auto"
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Encoded Pluecker maps that stay in the output folder, for runs on the same cameras; in 1e9
    # bytes, 0 for none.
    pluecker_cache_gb: float = 2.0
    # Number of processes that share the decoder's attention for a scene; the first does the rest.
    processes_per_scene: int = 1

    def __post_init__(self) -> None:
        if self.processes_per_scene < 1:
            raise InputError("processes_per_scene", self.processes_per_scene, "an integer >= 1")
        if not self.pluecker_cache_gb >= 0:
            raise InputError("pluecker_cache_gb", self.pluecker_cache_gb, "0 or more")
        together = of_moments(self.output.other_formats) if self.scenes.times else []
        if together and not self.output.writes_ply:
            expected = f"`ply`, too: a moving scene's {together[0]} is made of its PLYs"
            raise InputError("export_formats", self.output.export_formats, expected)
