"""The full size: a look at the machine and the weights before anything long, then the recipe."""

import importlib.util
import shlex
import sys
import zipfile
from pathlib import Path

from downloads.catalogue import gigabytes

from cosmos_predict1.diffusion.model.architecture import read_config
from cosmos_predict1.diffusion.model.text import missing_constants
from src.checkpoints import search_checkpoint
from src.depth.backends.choice import named_depth
from src.depth.backends.moge_model import INSTALL
from src.runtime import InputError

from .children import Children
from .inputs import Inputs
from .machine import available_memory, find_gpu, free_disk, has_compiler
from .plan import DECODER_GIB, Peak, check_disk, check_memory, choose_peak, downloads
from .recipe import Recipe, require_weights
from .request import REPOSITORY, Request


def full_recipe(request: Request, inputs: Inputs, children: Children) -> Recipe | None:
    """How to make the scenes in full size; None where weights are missing and not to be fetched.

    Raises:
        InputError: a machine or an installation that will not do, a download that failed.
    """
    print("quickstart: full size; looked at before anything long:")
    peak = None if request.device == "cpu" else _gpu()
    depth = named_depth(request.depth, request.checkpoint_dir)
    if depth == "moge" and importlib.util.find_spec("moge") is None:
        raise InputError("depth", "MoGe is not installed", f"`{INSTALL}`, or another --depth")
    needed, found = _parts(request, inputs, depth)
    needs_text = _needs_text(request)
    names = downloads(needed, found, needs_text)
    makes_text = needs_text and not _is_mapped(search_checkpoint("t5", request.checkpoint_dir))
    available = available_memory()
    needed_gib = check_memory(available, peak, makes_text)
    _say("memory", f"{available:.1f} GiB of the machine available, {needed_gib:.1f} needed at once")
    free = free_disk(request.checkpoint_dir)
    needed_gb = check_disk(free, request.checkpoint_dir, gigabytes(names))
    _say("disk", f"{free:.1f} GB free, {needed_gb:.1f} needed")
    _say("weights", f"{', '.join(sorted(found)) or 'none'} in {request.checkpoint_dir}")
    if names and not _fetch(request, names, children):
        return None
    for part in needed:
        require_weights(part, request.checkpoint_dir)
    if needs_text:
        _make_text(request, children)
    rasterizer = "torch" if peak is not None and not has_compiler() else "auto"
    if rasterizer == "torch":
        _say("renderer", "torch, slowly: there is no nvcc, which gsplat compiles its kernels with")
    flags = [] if peak is None else [*peak.flags]
    flags += ["--disable_prompt_encoder"] if request.disable_prompt_encoder else []
    device = () if request.device == "auto" else (request.device,)
    return Recipe(
        request=request,
        name="lyra",
        rasterizer=rasterizer,
        generator_flags=(*flags, *(word for name in device for word in ("--device", name))),
        settings=tuple(f"device={name}" for name in device),
    )


def _gpu() -> Peak:
    """The way to generate on the GPU that there is."""
    gpu = find_gpu()
    if gpu is None:
        expected = "a GPU that torch can use: `python scripts/check_environment.py` tells why not"
        raise InputError("GPU", "none", expected)
    peak = choose_peak(gpu.free)
    flags = " ".join(peak.flags) or "no flag"
    _say("GPU", f"{gpu.name}, {gpu.free:.1f} of {gpu.total:.1f} GiB free")
    _say("", f"{flags}: {peak.words}; {peak.gib} GiB measured, the decoder {DECODER_GIB}")
    return peak


def _parts(request: Request, inputs: Inputs, depth: str) -> tuple[list[str], set[str]]:
    """The parts that the run takes, and which of all that matter are there."""
    needed = ["generator", "tokenizer"]
    needed += ["decoder_static"] if inputs.pictures else []
    needed += ["decoder_dynamic"] if inputs.videos else []
    needed += [depth] if depth in ("moge", "depth_anything") else []
    folder = request.checkpoint_dir
    return needed, {part for part in (*needed, "t5") if search_checkpoint(part, folder)}


def _needs_text(request: Request) -> bool:
    """Whether the embeddings of the two constant prompts are wanted and not kept yet."""
    if request.disable_prompt_encoder or not missing_constants(request.checkpoint_dir):
        return False
    folder = search_checkpoint("generator", request.checkpoint_dir)
    # Weights that are still to be fetched are the published ones.
    return folder is None or read_config(folder).sampling.text_encoder != "none"


def _is_mapped(folder: Path | None) -> bool:
    """Whether T5's weights can be mapped into memory: not in the format before torch 1.6."""
    if folder is None:
        return False
    pickled = folder / "pytorch_model.bin"
    return not pickled.is_file() or zipfile.is_zipfile(pickled)


def _fetch(request: Request, names: list[str], children: Children) -> bool:
    """Download what is missing, if the user wants it; false if not."""
    script = str(REPOSITORY / "scripts/download_checkpoints.py")
    folder = str(request.checkpoint_dir)
    command = [sys.executable, script, "--checkpoint_dir", folder, "--what", *names]
    for name in names:
        _say("missing", f"{name}, {gigabytes([name]):.1f} GB")
    print(f"  {gigabytes(names):.1f} GB to download; where a licence must be accepted, it says so:")
    print(f"  {shlex.join(command)}", flush=True)
    if not request.yes:
        if not sys.stdin.isatty():
            words = "run this command, or call the quickstart again with --yes"
            print(f"quickstart: weights are missing; {words}", file=sys.stderr)
            return False
        if input("Download it now? [y/N] ").strip().lower() not in ("y", "yes"):
            return False
    ended = children.run(command)
    if ended.code != 0:
        raise InputError(folder, f"no download ({ended.last_line})", "what the line above asks for")
    return True


def _make_text(request: Request, children: Children) -> None:
    """Make the two constant embeddings on the CPU, where T5 takes no memory of the GPU."""
    script = str(REPOSITORY / "scripts/make_text_embeddings.py")
    folder = str(request.checkpoint_dir)
    ended = children.run([sys.executable, script, "--checkpoint_dir", folder, "--device", "cpu"])
    if ended.code != 0:
        raise InputError(folder, f"no text embeddings ({ended.last_line})", "T5 in google-t5/")


def _say(what: str, found: str) -> None:
    print(f"  {what:9} {found}", flush=True)
