"""A whole quickstart: check, generate, decode, tell; one input that fails stops no other."""

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmos_predict1.diffusion.config import InputConfig
from cosmos_predict1.diffusion.scenes.inputs import SceneInput, scene_inputs
from src.checkpoints import search_checkpoint
from src.io.clip.clip import ClipPaths, is_finished
from src.models.data.registry import FORWARD
from src.runtime import InputError

from .children import Children, Ended
from .full import full_recipe
from .inputs import Inputs, find_inputs, folder_name
from .machine import gpu_name, has_compiler
from .recipe import Kind, Recipe, require_weights
from .report import VIEWERS, scene_lines, shown
from .request import REPOSITORY, Request

# Threads that wait spin for a moment only: much faster where the cores have other work too. Large
# tensors stay with the process between uses: a tenth of the time is spent on fresh pages else.
ENVIRONMENT = {
    "GOMP_SPINCOUNT": "1000",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "2147483648",
}


@dataclass(frozen=True)
class Failure:
    """What became no scene, and why."""

    name: str
    reason: str


def make_scenes(request: Request, children: Children) -> int:
    """Make the scenes of a request, say where they lie; 1 if an input became none.

    Raises:
        InputError: an input, weights or a machine that will not do, before anything long.
    """
    inputs = find_inputs(request.input)
    for path, reason in inputs.left_out:
        _warn(f"left out: {shown(path)}: {reason}")
    gpu = "" if request.device == "cpu" else gpu_name()
    if request.full:
        _make_folder(request.output)
        recipe = full_recipe(request, inputs, children)
        if recipe is None:
            return 1
    else:
        inputs, recipe = _small(request, inputs, gpu)
        _make_folder(request.output)
        print(f"quickstart: on {gpu or 'the CPU'}")
    started, folders, failures = time.monotonic(), [], []
    for kind, source, members in _jobs(request, inputs):
        folder = request.output / _results_name(recipe, source, members)
        failures += _make(kind, source, folder, recipe, children)
        folders.append(folder)
    print(
        f"\nquickstart: {'done' if not failures else 'ended'} in {time.monotonic() - started:.0f} s"
    )
    for folder in folders:
        print("\n".join(scene_lines(shown(folder))))
    print(VIEWERS)
    if not request.full:
        _advertise(inputs, gpu)
    if failures:
        _warn(f"{len(failures)} of {len(inputs.pictures + inputs.videos)} inputs became no scene:")
        for failure in failures:
            print(f"  {failure.name}: {failure.reason}", file=sys.stderr)
    return int(bool(failures))


def _small(request: Request, inputs: Inputs, gpu: str) -> tuple[Inputs, Recipe]:
    """The recipe of the small weights; without a decoder of moving scenes videos are left out."""
    folder = request.checkpoint_dir
    if inputs.videos and search_checkpoint("decoder_dynamic", folder) is None:
        names = " ".join(path.name for path in inputs.videos)
        missing = f"{folder}/decoder_dynamic: no weights, without which videos become no scenes"
        if not inputs.pictures:
            raise InputError(folder, f"no decoder_dynamic for {names}", "weights like assets/nano")
        _warn(f"{missing}; leaving out {names}")
        inputs = Inputs(inputs.pictures)
    decoders = ["decoder_static"] * bool(inputs.pictures) + ["decoder_dynamic"] * bool(
        inputs.videos
    )
    for part in ("generator", "tokenizer", "depth", *decoders):
        require_weights(part, folder)
    _make_folder(request.output)
    # Without its compiler gsplat may not start; for scenes of this size the twin is fast enough.
    rasterizer = "torch" if gpu and not has_compiler() else "auto"
    device = request.device
    return inputs, Recipe(
        request=request,
        name="nano",
        rasterizer=rasterizer,
        generator_flags=() if device == "auto" else ("--device", device),
        settings=() if device == "auto" else (f"device={device}",),
    )


def _jobs(request: Request, inputs: Inputs) -> Iterator[tuple[Kind, Path, tuple[Path, ...]]]:
    """Yield what is made in one go, with its files: all pictures together, each video."""
    if inputs.pictures:
        yield "static", request.input, inputs.pictures
    for video in inputs.videos:
        yield "dynamic", video, (video,)


def _results_name(recipe: Recipe, source: Path, members: tuple[Path, ...]) -> str:
    """Another input, seed or other weights are other results, which get a folder of their own."""
    seed = str(recipe.request.seed)
    if recipe.name == "lyra":
        # Gigabytes of weights are known by their sizes.
        parts = [recipe.weights(part) for part in ("generator", "tokenizer")]
        sizes = [str(path.stat().st_size) for part in parts for path in sorted(part.iterdir())]
        return folder_name(source, members, *sizes, recipe.request.depth, seed)
    parts = [recipe.weights(part) for part in ("generator", "tokenizer", "depth")]
    files = [path for part in parts for path in sorted(part.iterdir()) if path.is_file()]
    return folder_name(source, [*members, *files], seed)


def _make(
    kind: Kind, source: Path, folder: Path, recipe: Recipe, children: Children
) -> list[Failure]:
    """Make the clips and scenes of an input, or of all pictures of a folder."""
    clips, environment = folder / "clips", {**ENVIRONMENT, **recipe.environment}
    ended = children.run(recipe.generate(kind, source, clips), environment)
    failures: list[Failure] = []
    if ended.code != 0:
        try:
            scenes = scene_inputs(InputConfig(image=str(source)), moving=kind == "dynamic")
        except InputError as error:
            # A link to nowhere, for one; the other inputs become scenes all the same.
            return [Failure(source.name, str(error))]
        missing = [scene for scene in scenes if not _has_clips(clips, scene)]
        failures = [Failure(scene.key, _reason(scene, ended)) for scene in missing]
        if len(missing) == len(scenes):
            return failures
    decode = recipe.decode(kind, clips, folder / "scene", partly=bool(failures))
    ended = children.run(decode, environment)
    if ended.code != 0:
        failures.append(Failure(source.name, ended.last_line))
    return failures


def _has_clips(clips: Path, scene: SceneInput) -> bool:
    return all(is_finished(ClipPaths(clips, name, scene.key)) for name in FORWARD)


def _reason(scene: SceneInput, ended: Ended) -> str:
    """What the generator said of a scene, out of the list at its end, a line each."""
    start = f"  {scene.key}: "
    own = [line.removeprefix(start) for line in ended.lines if line.startswith(start)]
    return own[-1] if own else ended.last_line


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        value = f"cannot be made ({error.strerror})"
        raise InputError(folder, value, "a folder for the results") from error


def _advertise(inputs: Inputs, gpu: str) -> None:
    """Tell who may be able to of the full size."""
    source = shlex.quote(str(shown((inputs.pictures + inputs.videos)[0])))
    weights = REPOSITORY / "checkpoints"
    if search_checkpoint("generator", weights) or gpu:
        print("\nThe full size, with the published weights, on a GPU (see README.md):")
        print(f"  bash scripts/quickstart.sh --full {source}")


def _warn(message: str) -> None:
    print(f"quickstart: {message}", file=sys.stderr, flush=True)
