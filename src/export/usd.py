"""OpenUSD: ParticleField3DGaussianSplat (OpenUSD 26.03 and later), moments as time samples."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..gaussians import Gaussians
from ..io.atomic import atomic_path
from ..io.ply.ply import SH_CONSTANT
from ..io.ply.scene import SplatScene
from ..runtime import import_extra

CODES_PER_SECOND = 24.0


def write_usd(path: Path, scene: SplatScene) -> None:
    """Writes a scene whose z axis points up (turn it first), in metres.

    The suffix chooses the encoding: `.usdc` and `.usd` are binary, `.usda` is text, `.usdz` a
    package of a binary one.
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
    geometry.SetStageUpAxis(stage, geometry.Tokens.z)
    geometry.SetStageMetersPerUnit(stage, 1.0)
    root = geometry.Xform.Define(stage, "/World")
    stage.SetDefaultPrim(root.GetPrim())
    splats = volume.ParticleField3DGaussianSplat.Define(stage, "/World/Gaussians")
    splats.CreateRadianceSphericalHarmonicsDegreeAttr(0)
    harmonics = splats.CreateRadianceSphericalHarmonicsCoefficientsAttr()
    primvar = geometry.Primvar(harmonics)
    primvar.SetElementSize(1)
    primvar.SetInterpolation(geometry.Tokens.vertex)
    codes = [usd.TimeCode.Default()]
    if len(scene.moments) > 1:
        codes = [usd.TimeCode(CODES_PER_SECOND * time) for time in scene.times]
        stage.SetTimeCodesPerSecond(CODES_PER_SECOND)
        stage.SetStartTimeCode(codes[0].GetValue())
        stage.SetEndTimeCode(codes[-1].GetValue())
    for code, moment in zip(codes, scene.moments, strict=True):
        _set_moment(splats, harmonics, moment, code)
    stage.Save()


def _set_moment(splats: Any, harmonics: Any, gaussians: Gaussians, code: Any) -> None:
    arrays = import_extra("pxr.Vt", "usd")
    reach = 3 * float(gaussians.scales.max())
    bounds = [gaussians.means.amin(0) - reach, gaussians.means.amax(0) + reach]
    vectors = arrays.Vec3fArray.FromNumpy
    splats.CreatePositionsAttr().Set(vectors(_values(gaussians.means)), code)
    splats.CreateScalesAttr().Set(vectors(_values(gaussians.scales)), code)
    opacities = arrays.FloatArray.FromNumpy(_values(gaussians.opacities))
    splats.CreateOpacitiesAttr().Set(opacities, code)
    # Vt reads quaternions from xyzw.
    quats = arrays.QuatfArray.FromNumpy(_values(gaussians.quats[:, [1, 2, 3, 0]]))
    splats.CreateOrientationsAttr().Set(quats, code)
    harmonics.Set(vectors(_values((gaussians.colors - 0.5) / SH_CONSTANT)), code)
    extent = np.stack([bound.numpy() for bound in bounds])
    splats.CreateExtentAttr().Set(vectors(np.ascontiguousarray(extent, np.float32)), code)


def _values(tensor: Any) -> Float[np.ndarray, "..."]:
    return np.ascontiguousarray(tensor.numpy(), np.float32)
