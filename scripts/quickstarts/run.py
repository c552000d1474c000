"""A whole quickstart: check, generate, decode, report; a failing input stops no other.

At its end it prints the paths of the results, and writes the pages of the scenes.
"""

import importlib.util
import json
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmos_predict1.diffusion.config import InputConfig
from cosmos_predict1.diffusion.scenes.inputs import SceneInput, scene_inputs
from src.checkpoints import find_checkpoint, search_checkpoint
from src.io.clip.clip import ClipPaths, is_finished
from src.io.scene import read_scene
from src.models.data.registry import FORWARD
from src.runtime import InputError, natural_order
from src.viewer.page import write_page

from .commands import Children, Ended, Kind, QuickstartRecipe
from .full import full_recipe
from .inputs import Inputs, find_inputs, folder_name
from .machine import find_compiler, query_gpus
from .request import REPOSITORY, Request

# Waiting threads spin for a moment only, which is much faster on busy cores. The process keeps the
# memory of large tensors: fresh pages would take a tenth of the time.
ENVIRONMENT = {
    "GOMP_SPINCOUNT": "1000",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "2147483648",
}
# The name of an input that became no scene, and the reason.
Failure = tuple[str, str]
VIEWERS = """
The pictures and videos open in any viewer and player. The .ply opens in every viewer for 3D
Gaussian splats: drop it onto https://superspl.at/editor in a browser, for one."""
NO_GAUSSFORGE = (
    "gaussforge is missing; this command installs it, then run the quickstart again:\n"
    "  {python} -m pip install 'open-lyra[viewer]'"
)


def make_scenes(request: Request, children: Children) -> int:
    """Makes the scenes of a request and prints their paths; returns 1 if an input became none.

    Raises `InputError` for input, weights or a machine that do not suffice, before anything long.
    """
    inputs = find_inputs(request.input)
    for path, reason in inputs.left_out:
        _warn(f"left out: {shown(path)}: {reason}")
    gpu = next(iter(query_gpus("name")), "") if request.device != "cpu" else ""
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
        failures += _make(kind, source, folder, recipe=recipe, children=children)
        folders.append((folder, source.is_dir()))
    pages = make_pages(folders)
    ended = "ended" if failures else "done"
    print(f"\nquickstart: {ended} in {time.monotonic() - started:.0f} s")
    for folder, _ in folders:
        print("\n".join(scene_lines(shown(folder))))
    print(VIEWERS)
    if not request.full:
        _advertise(inputs, gpu)
    _report_failures(inputs, failures)
    print("\n".join(pages.lines()))
    return int(bool(failures or pages.failed))


def _report_failures(inputs: Inputs, failures: list[Failure]) -> None:
    if failures:
        _warn(f"{len(failures)} of {len(inputs.pictures + inputs.videos)} inputs became no scene:")
        for name, reason in failures:
            print(f"  {name}: {reason}", file=sys.stderr)


def _small(request: Request, inputs: Inputs, gpu: str) -> tuple[Inputs, QuickstartRecipe]:
    """Returns the recipe of the small weights; leaves videos out if their decoder is missing."""
    folder = request.checkpoint_dir
    if inputs.videos and search_checkpoint("decoder_dynamic", folder) is None:
        names = " ".join(path.name for path in inputs.videos)
        missing = f"{folder}/decoder_dynamic: no weights, without which videos become no scenes"
        if not inputs.pictures:
            raise InputError(folder, f"no decoder_dynamic for {names}", "weights like assets/nano")
        _warn(f"{missing}; leaving out {names}")
        inputs = Inputs(inputs.pictures)
    parts = ["generator", "tokenizer", "depth"]
    parts += ["decoder_static"] if inputs.pictures else []
    parts += ["decoder_dynamic"] if inputs.videos else []
    for part in parts:
        find_checkpoint(part, folder)
    # Without its compiler gsplat may not start; for scenes of this size the twin is fast enough.
    rasterizer = "torch" if gpu and find_compiler() is None else "auto"
    return inputs, QuickstartRecipe(request=request, name="nano", rasterizer=rasterizer)


def _jobs(request: Request, inputs: Inputs) -> Iterator[tuple[Kind, Path, tuple[Path, ...]]]:
    """Yields the inputs of a call, with their files: all pictures together, each video alone."""
    if inputs.pictures:
        yield "static", request.input, inputs.pictures
    for video in inputs.videos:
        yield "dynamic", video, (video,)


def _results_name(recipe: QuickstartRecipe, source: Path, members: tuple[Path, ...]) -> str:
    """Returns the name of the results' folder: another for other input, seed or weights."""
    seed = str(recipe.request.seed)
    if recipe.name == "lyra":
        # The sizes stand for gigabytes of weights.
        parts = [recipe.weights(part) for part in ("generator", "tokenizer")]
        sizes = [str(path.stat().st_size) for part in parts for path in sorted(part.iterdir())]
        return folder_name(source, members, *sizes, recipe.request.depth, seed)
    parts = [recipe.weights(part) for part in ("generator", "tokenizer", "depth")]
    files = [path for part in parts for path in sorted(part.iterdir()) if path.is_file()]
    return folder_name(source, [*members, *files], seed)


def _make(
    kind: Kind, source: Path, folder: Path, *, recipe: QuickstartRecipe, children: Children
) -> list[Failure]:
    """Makes the clips and scenes of an input, or of all pictures of a folder."""
    clips = folder / "clips"
    ended = children.run(recipe.generate(kind, source, clips), ENVIRONMENT)
    failures: list[Failure] = []
    if ended.code != 0:
        try:
            scenes = scene_inputs(InputConfig(image=str(source)), moving=kind == "dynamic")
        except InputError as error:
            # A broken link, for instance; the other inputs still become scenes.
            return [(source.name, str(error))]
        missing = [scene for scene in scenes if not _has_clips(clips, scene)]
        failures = [(scene.key, _reason(scene, ended)) for scene in missing]
        if len(missing) == len(scenes):
            return failures
    decode = recipe.decode(kind, clips, folder / "scene", partly=bool(failures))
    ended = children.run(decode, ENVIRONMENT)
    if ended.code != 0:
        failures.append((source.name, ended.last_line))
    return failures


def _has_clips(clips: Path, scene: SceneInput) -> bool:
    return all(is_finished(ClipPaths(clips, name, scene.key)) for name in FORWARD)


def _reason(scene: SceneInput, ended: Ended) -> str:
    """Returns the line of a scene in the list that ends the generator's output."""
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
    """Names the full size to users with a GPU or its weights."""
    source = shlex.quote(str(shown((inputs.pictures + inputs.videos)[0])))
    weights = REPOSITORY / "checkpoints"
    if search_checkpoint("generator", weights) or gpu:
        print("\nThe full size, with the published weights, on a GPU (see README.md):")
        print(f"  bash scripts/quickstart.sh --full {source}")


def _warn(message: str) -> None:
    print(f"quickstart: {message}", file=sys.stderr, flush=True)


def scene_lines(folder: Path) -> Iterator[str]:
    """Yields the paths of an input's results; for a video at each moment, in order."""
    for tree, index, key in _scenes(folder / "scene"):
        moment = f" at frame {tree.name}" if _moves(tree) else ""
        yield ""
        yield f"{key}{moment}"
        yield f"  at a glance  {tree}/scenes/{index}/sheet.png"
        yield f"  3D scene     {tree}/gaussians_orig/gaussians_{index}.ply"
        yield f"  renderings   {tree}/main_gaussians_renderings/rgb_{index}.mp4"
        yield f"  one by one   {tree}/raw/rgb_{index}_view_idx_{{0,1,2,3,4,5}}.mp4"
    yield f"  generated    {folder}/clips/{{0,1,2,3,4,5}}/rgb/"


@dataclass(frozen=True)
class Pages:
    """The pages that were written, and why there are no others."""

    written: list[Path]
    reason: str | None = None
    failed: bool = False

    def lines(self) -> Iterator[str]:
        """Yields the last lines of a quickstart."""
        yield ""
        if self.reason is not None:
            yield f"no page.html: {self.reason}"
        for page in self.written:
            yield f"open {shlex.quote(str(shown(page)))} in a browser"


def make_pages(folders: Iterable[tuple[Path, bool]]) -> Pages:
    """Writes the pages of all inputs: folders of results, and whether the input was a folder.

    Without gaussforge, which packs the Gaussians of a page, there is none.
    """
    if importlib.util.find_spec("gaussforge") is None:
        return Pages([], NO_GAUSSFORGE.format(python=sys.executable))
    written: list[Path] = []
    try:
        for folder, several in folders:
            for page in _write_pages(folder, several):
                written.append(page)
    except InputError as error:
        # The scenes are there, and their paths are told.
        return Pages(written, str(error), failed=True)
    return Pages(written)


def _write_pages(folder: Path, several: bool) -> Iterator[Path]:
    """Writes the page of each scene of an input; yields their paths.

    With `several`, the input is a folder of pictures, whose pages need names. Raises `InputError`
    for damaged results, or a page that cannot be written.
    """
    sources: dict[tuple[Path, str], Path] = {}
    for tree, index, key in _scenes(folder / "scene"):
        ply = tree / f"gaussians_orig/gaussians_{index}.ply"
        # A run with other `export_formats` may have left it out.
        if ply.is_file():
            moving = _moves(tree)
            sources[tree.parents[int(moving)], key] = tree.parent if moving else ply
    roots = list(dict.fromkeys(root for root, _ in sources))
    for (root, key), source in sources.items():
        words = ["page", *([key] if several else [])]
        # Settings of the second command may have made results of other camera paths.
        words += [str(roots.index(root) + 1)] if len(roots) > 1 else []
        page = folder / f"{'_'.join(words)}.html"
        write_page(page, read_scene(source), key)
        yield page


def _moves(tree: Path) -> bool:
    """Whether a folder has the results of one moment."""
    return tree.parent.name == "lyra_dynamic_demo"


def _scenes(root: Path) -> list[tuple[Path, int, str]]:
    """Returns the folder of each finished scene, its number and its name."""
    found = []
    for pattern in ("*/*/meta/sample_*.json", "*/*/[0-9]*/meta/sample_*.json"):
        for meta in root.glob(pattern):
            index = int(meta.stem.removeprefix("sample_"))
            key = json.loads(meta.read_text("utf-8"))["file_name"][0]
            found.append((meta.parent.parent, index, key))
    return sorted(found, key=lambda scene: (natural_order(str(scene[0])), scene[1]))


def shown(path: Path) -> Path:
    """Returns a path relative to the working directory if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
