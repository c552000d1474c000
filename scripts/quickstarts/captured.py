"""A scene of one picture of a capture, made by the two commands or read."""

from argparse import Namespace
from pathlib import Path

import torch

from cosmos_predict1.diffusion.model.architecture import read_config
from src.checkpoints import find_checkpoint, search_checkpoint
from src.gaussians import Gaussians
from src.io.scene import read_scene
from src.rendering.rasterize import Backend
from src.runtime import InputError

from .commands import Children, QuickstartRecipe, Terminated
from .full import full_recipe
from .inputs import find_inputs
from .machine import find_compiler
from .request import Request
from .run import ENVIRONMENT


def scene_size(weights: Path) -> tuple[int, int]:
    """Returns height and width of the generator's pictures."""
    sampling = read_config(find_checkpoint("generator", weights)).sampling
    return sampling.height, sampling.width


def captured_scene(
    picture: Path, out: Path, *, device: torch.device, depth: str, options: Namespace
) -> tuple[Gaussians, Backend]:
    """Returns the Gaussians of a picture, and the rasterizer to measure them with on `device`.

    `options` are those of `scripts/capture.py`; without a scene one is made in `out`/scene, with
    `depth` as of the generator's command.

    Raises:
        InputError: a command that failed, missing weights, a moving scene.
        KeyboardInterrupt: a signal, after which no command runs any more.
    """
    # Without its compiler gsplat may not start.
    slow = device.type == "cpu" or find_compiler() is None
    rasterizer: Backend = "torch" if slow else "auto"
    scene = options.scene
    if scene is None:
        try:
            scene = _make(
                picture, out / "scene", rasterizer=rasterizer, depth=depth, options=options
            )
        except Terminated as stop:
            raise KeyboardInterrupt from stop
    moments = read_scene(scene).moments
    if len(moments) != 1:
        raise InputError(scene, f"{len(moments)} moments", "a still scene")
    return moments[0], rasterizer


def _make(
    picture: Path, folder: Path, *, rasterizer: Backend, depth: str, options: Namespace
) -> Path:
    nano = search_checkpoint("depth", options.weights) is not None
    request = Request(
        input=picture.absolute(),
        output=folder.absolute(),
        seed=options.seed,
        checkpoint_dir=options.weights.absolute(),
        depth=depth,
        device=options.device,
        full=not nano,
        yes=False,
        disable_prompt_encoder=options.disable_prompt_encoder,
        # The scene is measured at other cameras: few of its own renderings are enough.
        settings=("target_index_subsample=8",),
    )
    with Children() as children:
        if nano:
            recipe = QuickstartRecipe(request=request, name="nano", rasterizer=rasterizer)
        else:
            found = full_recipe(request, find_inputs(picture), children)
            if found is None:
                raise InputError(options.weights, "weights are missing", "all weights of a picture")
            recipe = found
        clips, results = request.output / "clips", request.output / "results"
        for command in (
            recipe.generate("static", request.input, clips),
            recipe.decode("static", clips, results),
        ):
            ended = children.run(command, ENVIRONMENT)
            if ended.code != 0:
                raise InputError(picture, f"no scene ({ended.last_line})", "a picture for a scene")
    return results
