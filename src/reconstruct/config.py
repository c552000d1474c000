"""The settings of a run: what it writes, and the parts that it is composed of."""

from dataclasses import dataclass, field
from typing import Literal

from ..export.chosen import check_names, of_moments
from ..models.recon.decoder import DecoderConfig
from ..rendering.options import RasterizeOptions
from ..rendering.rasterize import Backend
from ..runtime import InputError
from .scenes import ScenesConfig
from .weights import WeightsConfig


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

    def __post_init__(self) -> None:
        together = of_moments(self.output.other_formats) if self.scenes.times else []
        if together and not self.output.writes_ply:
            expected = f"`ply`, too: a moving scene's {together[0]} is made of its PLYs"
            raise InputError("export_formats", self.output.export_formats, expected)
