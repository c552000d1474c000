"""Our outputs for the fixture kind `render`: pictures and gradients of the torch rasteriser."""

from collections.abc import Callable

from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras, invert_rigid, matrix_to_intrinsics
from src.rendering.options import RasterizeOptions
from src.rendering.rasterize import rasterize

from .fixture import Fixture

PARAMETERS = ("means", "opacities", "scales", "quats", "colors")


def render(fixture: Fixture) -> dict[str, Tensor]:
    """Colour, alpha and depth, channels last, and the gradients of the recorded cotangents."""
    config = fixture.config
    config.require(sh_degree=None, packed=False, tile_size=16, eps2d=0.3, rasterize_mode="classic")
    unscented = config["mode"] == "3dgut"
    config.require(with_ut=unscented, with_eval3d=unscented)
    options = RasterizeOptions(
        mode=config["mode"],
        background=tuple(config["background"]),
        near=config["near_plane"],
        far=config["far_plane"],
    )
    leaves = {name: fixture.inputs(name).clone().requires_grad_() for name in PARAMETERS}
    # float64, because poses are stored the other way round and inverting rounds.
    cameras = Cameras(
        invert_rigid(fixture.inputs("viewmats").double()),
        matrix_to_intrinsics(fixture.inputs("Ks").double()),
        config["width"],
        config["height"],
    )
    rendered = rasterize(Gaussians(**leaves), cameras, options, backend="torch")
    pictures = {
        "color": rendered.color.movedim(1, -1),
        "alpha": rendered.alpha.movedim(1, -1),
        "depth": rendered.depth.movedim(1, -1),
    }
    products = [
        (pictures[name] * fixture.inputs(f"cotangent_{name}")).sum() for name in ("color", "alpha")
    ]
    (products[0] + products[1]).backward()
    outputs = {name: picture.detach() for name, picture in pictures.items()}
    for name, leaf in leaves.items():
        assert leaf.grad is not None, f"no gradient reached {name}"
        outputs[f"grad_{name}"] = leaf.grad
    return outputs


KINDS: dict[str, Callable[[Fixture], dict[str, Tensor]]] = {"render": render}
