"""The figures of a scene at the cameras of its capture, beside two baselines.

Covered pixels are those onto which a pixel of the input falls, by its depth; the others of a
picture are disoccluded. Scales are `metric`, where the capture's unit is that of the depth network,
and `aligned`, where one factor fits the capture to the scene.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ...gaussians import Gaussians
from ...io.image import round_to_uint8
from ...rendering.options import RasterizeOptions
from ...rendering.rasterize import Backend, rasterize
from ...rendering.unprojected import unproject_picture
from ...runtime import progress
from ...visualization import contact_sheet
from ..compare import Measures, spread
from ..metrics import clip_errors
from .reading import Capture
from .scale import Factor, InputView, align_scale, near_targets, scaled

METHODS = ("gaussians", "unprojected", "repeated")
PIXELS = ("all", "covered", "disoccluded")
SCALES = ("metric", "aligned")
WINDOW = 14
SHEET_ROWS = 6
SHEET_COLUMNS = ("input", "target", "Gaussians", "unprojected")
# By measure, of one frame; None: no such pixel.
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Measured:
    """Figures of every frame by scale and method, the share of covered pixels, the sheet."""

    factors: Mapping[str, Factor]
    frames: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    covered: dict[str, list[float]] = field(default_factory=dict)
    sheet: list[UInt8[Tensor, "h w 3"]] = field(default_factory=list)

    def picture(self) -> UInt8[Tensor, "h w 3"]:
        """Rows of input, target, Gaussians and unprojected input, at the aligned scale."""
        return contact_sheet(torch.stack(self.sheet), len(SHEET_COLUMNS))

    def means(self, window: Sequence[int]) -> list[dict[str, object]]:
        """A row for each scale and method: the means over the frames at `window`."""
        rows: list[dict[str, object]] = []
        for scale, methods in self.frames.items():
            for method, frames in methods.items():
                share = sum(self.covered[scale][at] for at in window) / len(window)
                row: dict[str, object] = {"scale": scale, "method": method, "covered": share}
                for name in frames[0]:
                    values = [frames[at][name] for at in window]
                    row[name] = spread(value for value in values if value is not None).mean
                rows.append(row)
        return rows


def even_window(targets: Sequence[int], origin: int, count: int = WINDOW) -> list[int]:
    """The places in `targets` of `count` frames, spread evenly over those after the input.

    If the input is the last picture of all, they are spread over all targets.
    """
    after = [at for at, target in enumerate(targets) if target > origin]
    chosen = after or list(range(len(targets)))
    if len(chosen) <= count:
        return chosen
    return [chosen[round(step * (len(chosen) - 1) / (count - 1))] for step in range(count)]


@torch.no_grad()
def measure_capture(
    capture: Capture,
    origin: int,
    targets: Sequence[int],
    view: InputView,
    gaussians: Gaussians,
    measures: Measures,
    backend: Backend = "auto",
) -> Measured:
    """Renders the scene at the cameras of `targets` and compares it with their pictures.

    `gaussians` and `view` are in the scene's unit, with the camera of picture `origin` at the
    world's origin.
    """
    device = measures.device
    size = (view.depth.shape[0], view.depth.shape[1])
    cameras = capture.placed(origin, size).to(device)[torch.tensor(targets, device=device)]
    window = even_window(targets, origin)
    near = near_targets(cameras)
    pictures = torch.stack([capture.picture(targets[at], size) for at in near]).to(device)
    at_near = cameras[torch.tensor(near, device=device)]
    aligned = align_scale(capture, origin, view, cameras=at_near, targets=pictures)
    metric = Factor(1 / view.divisor, "the capture's unit taken for that of the depth network")
    measured = Measured(dict(zip(SCALES, (metric, aligned), strict=True)))
    shown = {window[round(row * (len(window) - 1) / (SHEET_ROWS - 1))] for row in range(SHEET_ROWS)}
    scenes = {"gaussians": gaussians.to(device), "unprojected": _unprojected(view)}
    red, green, blue = view.image.mean(dim=(1, 2)).tolist()
    options = RasterizeOptions(background=(red, green, blue), depth=False)
    for scale, at in progress([(s, i) for s in SCALES for i in range(len(targets))], "frames"):
        camera = scaled(cameras[at : at + 1], measured.factors[scale].value)
        target, covered = capture.picture(targets[at], size).to(device), view.warp(camera).mask[0]
        shots = {
            name: rasterize(scene, camera, options, backend=backend).color[0].clamp(0, 1)
            for name, scene in scenes.items()
        } | {"repeated": view.image}
        measured.covered.setdefault(scale, []).append(covered.float().mean().item())
        for name in METHODS:
            figures = _figures(shots[name], target, covered, measures)
            measured.frames.setdefault(scale, {}).setdefault(name, []).append(figures)
        if scale == "aligned" and at in shown:
            row = (view.image, target, shots["gaussians"], shots["unprojected"])
            measured.sheet.extend(round_to_uint8(part).movedim(0, -1).cpu() for part in row)
    return measured


def _unprojected(view: InputView) -> Gaussians:
    pose = torch.eye(4, device=view.depth.device)
    return unproject_picture(view.image, view.depth, view.depth > 0, view.intrinsics, c2w=pose)


def _figures(
    picture: Float[Tensor, "3 h w"],
    target: Float[Tensor, "3 h w"],
    covered: Bool[Tensor, "h w"],
    measures: Measures,
) -> Figures:
    """PSNR on the three sets of pixels, and the other measures of the whole picture."""
    figures: Figures = {}
    masks = (torch.ones_like(covered), covered, ~covered)
    for name, mask in zip(PIXELS, masks, strict=True):
        errors = clip_errors(picture[None, :, None], target[None, :, None], mask[None, None])
        figures[f"psnr_{name}"] = errors.psnr().item() if mask.any() else None
    for name, function in measures.functions.items():
        if name != "psnr":
            figures[name] = function(picture[None], target[None]).item()
    return figures
