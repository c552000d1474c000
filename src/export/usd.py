"""OpenUSD: ParticleField3DGaussianSplat (OpenUSD 26.03 and later), moments as time samples."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..gaussians import Gaussians
from ..io.atomic import atomic_path
from ..io.ply import SH_CONSTANT
from ..io.scene import SplatScene
from ..runtime import import_extra

CODES_PER_SECOND = 24.0
# Readers interpolate between time samples: a moment ends so many time codes before the next one.
GAP = 2.0**-10


def write_usd(path: Path, scene: SplatScene) -> None:
    """Writes a scene whose y or z axis points up (turn it first), in metres.

    The suffix chooses the encoding: `.usdc` is binary, `.usda` is text, `.usdz` a package of a
    binary one. Each moment is shown from its time to that of the next one.
    """
    if path.suffix == ".usdz":
        utilities = import_extra("pxr.UsdUtils", "usd")
        with tempfile.TemporaryDirectory() as folder, atomic_path(path) as temporary:
            layer = Path(folder) / f"{path.stem}.usdc"
            _write_layer(layer, scene)
            utilities.CreateNewUsdzPackage(str(layer), str(temporary))
        return
    with atomic_path(path) as temporary:
        _write_layer(temporary, scene)


def _write_layer(path: Path, scene: SplatScene) -> None:
    usd, geometry = import_extra("pxr.Usd", "usd"), import_extra("pxr.UsdGeom", "usd")
    volume = import_extra("pxr.UsdVol", "usd")
    stage = usd.Stage.CreateNew(str(path))
    assert scene.up in ("y", "z"), f"OpenUSD has no scenes with {scene.up} up"
    geometry.SetStageUpAxis(stage, getattr(geometry.Tokens, scene.up))
    geometry.SetStageMetersPerUnit(stage, 1.0)
    root = geometry.Xform.Define(stage, "/World")
    stage.SetDefaultPrim(root.GetPrim())
    splats = volume.ParticleField3DGaussianSplat.Define(stage, "/World/Gaussians")
    splats.CreateRadianceSphericalHarmonicsDegreeAttr(0)
    harmonics = splats.CreateRadianceSphericalHarmonicsCoefficientsAttr()
    primvar = geometry.Primvar(harmonics)
    primvar.SetElementSize(1)
    primvar.SetInterpolation(geometry.Tokens.vertex)
    if len(scene.moments) == 1:
        _set_moment(splats, harmonics, scene.moments[0], [usd.TimeCode.Default()])
    else:
        codes = [CODES_PER_SECOND * time for time in scene.times]
        stage.SetTimeCodesPerSecond(CODES_PER_SECOND)
        stage.SetStartTimeCode(codes[0])
        stage.SetEndTimeCode(codes[-1])
        for moment, begin, end in zip(scene.moments, codes, [*codes[1:], codes[-1]], strict=True):
            _set_moment(splats, harmonics, moment, sorted({begin, max(begin, end - GAP)}))
    stage.Save()


def _set_moment(splats: Any, harmonics: Any, gaussians: Gaussians, codes: list[Any]) -> None:
    """Sets all arrays at some time codes; a binary file stores equal arrays once."""
    arrays = import_extra("pxr.Vt", "usd")
    reach = 3 * float(gaussians.scales.max())
    bounds = [gaussians.means.amin(0) - reach, gaussians.means.amax(0) + reach]
    vectors = arrays.Vec3fArray.FromNumpy
    columns = (
        (splats.CreatePositionsAttr(), vectors, gaussians.means),
        (splats.CreateScalesAttr(), vectors, gaussians.scales),
        (splats.CreateOpacitiesAttr(), arrays.FloatArray.FromNumpy, gaussians.opacities),
        # Vt reads quaternions from xyzw.
        (splats.CreateOrientationsAttr(), arrays.QuatfArray.FromNumpy, gaussians.quats.roll(-1, 1)),
        (harmonics, vectors, (gaussians.colors - 0.5) / SH_CONSTANT),
        (splats.CreateExtentAttr(), vectors, torch.stack(bounds)),
    )
    for attribute, convert, column in columns:
        values = convert(np.ascontiguousarray(column.numpy(), np.float32))
        for code in codes:
            attribute.Set(values, code)
