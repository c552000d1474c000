"""The recipe of the full size, after a check of the machine and the weights.

The figures of memory are the measured peaks of docs/performance.md.
"""

import importlib.util
import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from downloads.catalogue import gigabytes

from cosmos_predict1.diffusion.model.architecture import read_config
from cosmos_predict1.diffusion.model.text import missing_constants
from src.checkpoints import find_checkpoint, search_checkpoint
from src.depth.backends.choice import named_depth
from src.depth.backends.moge import INSTALL
from src.runtime import InputError

from .commands import Children, QuickstartRecipe
from .inputs import Inputs
from .machine import available_memory, find_compiler, find_gpu, free_disk
from .request import REPOSITORY, Request


@dataclass(frozen=True)
class Peak:
    """GiB of the GPU that the generator takes with some flags, and the cost of these."""

    gib: float
    flags: tuple[str, ...]
    words: str


# The fastest first. Without the text encoder: its two constant embeddings are made on the CPU.
PEAKS = (
    Peak(27.0, (), "everything stays on the GPU, 4.04 s an evaluation on an H200"),
    Peak(23.7, ("--offload_tokenizer",), "the tokenizer leaves the GPU while it does not work"),
    Peak(
        10.2,
        ("--offload_diffusion_transformer",),
        "the transformer streams through the GPU, 4.27 s an evaluation on an H200",
    ),
)
DECODER_GIB = 9.8
# GiB that the allocator reserves beyond the peak.
SPARE_GIB = 0.5
# The transformer of 7.24 billion parameters in bfloat16, in pinned memory of the host.
STREAMED_GIB = 13.5
# Three layers of T5-11b, two at work and one that is read; its file is read where it is needed.
T5_GIB = 2.7
# Clips, renderings and Gaussians of a scene, with room to spare.
RESULTS_GB = 2.0


def full_recipe(request: Request, inputs: Inputs, children: Children) -> QuickstartRecipe | None:
    """Returns the recipe of the full size, or None if the user does not download missing weights.

    Raises `InputError` for a machine or an installation that does not suffice, a failed download.
    """
    print("quickstart: full size; checked before anything long:")
    peak = None if request.device == "cpu" else _gpu()
    depth = named_depth(request.depth, request.checkpoint_dir)
    if depth == "moge" and importlib.util.find_spec("moge") is None:
        raise InputError("depth", "MoGe is not installed", f"`{INSTALL}`, or another --depth")
    needed, found = _parts(request, inputs, depth)
    needs_text = _needs_text(request)
    names = downloads(needed, found, needs_text)
    available = available_memory()
    needed_gib = check_memory(available, peak, needs_text)
    _print("memory", f"{available:.1f} GiB available, {needed_gib:.1f} needed at once")
    free = free_disk(request.checkpoint_dir)
    needed_gb = check_disk(free, request.checkpoint_dir, gigabytes(names))
    _print("disk", f"{free:.1f} GB free, {needed_gb:.1f} needed")
    _print("weights", f"{', '.join(sorted(found)) or 'none'} in {request.checkpoint_dir}")
    if names and not _fetch(request, names, children):
        return None
    for part in needed:
        find_checkpoint(part, request.checkpoint_dir)
    if needs_text:
        # On the CPU, where T5 takes no memory of the GPU.
        command = [*_script("make_text_embeddings.py", request), "--device", "cpu"]
        _run(command, children, made="text embeddings", expected="T5 in google-t5/")
    rasterizer = "torch" if peak is not None and find_compiler() is None else "auto"
    if rasterizer == "torch":
        _print("renderer", "torch, slowly: there is no nvcc to compile gsplat's kernels with")
    flags = () if peak is None else peak.flags
    flags += ("--disable_prompt_encoder",) if request.disable_prompt_encoder else ()
    return QuickstartRecipe(request=request, name="lyra", rasterizer=rasterizer, flags=flags)


def _gpu() -> Peak:
    """Finds the GPU; returns the flags that fit into its memory."""
    gpu = find_gpu()
    if gpu is None:
        expected = "a GPU that torch can use: `python scripts/check_environment.py` tells why not"
        raise InputError("GPU", "none", expected)
    peak = choose_peak(gpu.free)
    flags = " ".join(peak.flags) or "no flag"
    _print("GPU", f"{gpu.name}, {gpu.free:.1f} of {gpu.total:.1f} GiB free")
    _print("", f"{flags}: {peak.words}; {peak.gib} GiB measured, the decoder {DECODER_GIB}")
    return peak


def _parts(request: Request, inputs: Inputs, depth: str) -> tuple[list[str], set[str]]:
    """Returns the parts that the run needs, and the parts that are there."""
    needed = ["generator", "tokenizer"]
    needed += ["decoder_static"] if inputs.pictures else []
    needed += ["decoder_dynamic"] if inputs.videos else []
    needed += [depth] if depth in ("moge", "depth_anything") else []
    folder = request.checkpoint_dir
    return needed, {part for part in (*needed, "t5") if search_checkpoint(part, folder)}


def _needs_text(request: Request) -> bool:
    """Whether the embeddings of the two constant prompts are needed and not made yet."""
    if request.disable_prompt_encoder or not missing_constants(request.checkpoint_dir):
        return False
    folder = search_checkpoint("generator", request.checkpoint_dir)
    # Missing weights will be the published ones.
    return folder is None or read_config(folder).sampling.text_encoder != "none"


def _fetch(request: Request, names: list[str], children: Children) -> bool:
    """Downloads the missing weights if the user agrees; returns False if not."""
    command = [*_script("download_checkpoints.py", request), "--what", *names]
    for name in names:
        _print("missing", f"{name}, {gigabytes([name]):.1f} GB")
    print(f"  {gigabytes(names):.1f} GB to download; it says where a licence must be accepted:")
    print(f"  {shlex.join(command)}", flush=True)
    if not request.yes:
        if not sys.stdin.isatty():
            advice = "run this command, or call the quickstart again with --yes"
            print(f"quickstart: weights are missing; {advice}", file=sys.stderr)
            return False
        if input("Download it now? [y/N] ").strip().lower() not in ("y", "yes"):
            return False
    _run(command, children, made="download", expected="what the line above asks for")
    return True


def _script(name: str, request: Request) -> list[str]:
    """The beginning of a command that works on the checkpoint folder."""
    script = str(REPOSITORY / "scripts" / name)
    return [sys.executable, script, "--checkpoint_dir", str(request.checkpoint_dir)]


def _run(command: list[str], children: Children, *, made: str, expected: str) -> None:
    ended = children.run(command)
    if ended.code != 0:
        raise InputError(Path(command[1]).name, f"no {made} ({ended.last_line})", expected)


def _print(topic: str, found: str) -> None:
    print(f"  {topic:9} {found}", flush=True)


def choose_peak(free_gib: float) -> Peak:
    """Returns the fastest flags that fit into the free memory of a GPU, or raises."""
    for peak in PEAKS:
        if free_gib >= peak.gib + SPARE_GIB:
            return peak
    least = PEAKS[-1]
    expected = (
        f"{least.gib + SPARE_GIB:.1f} GiB: {least.gib} measured with {' '.join(least.flags)}, the "
        f"least there is, and {SPARE_GIB} to spare (docs/performance.md)"
    )
    raise InputError("memory of the GPU", f"{free_gib:.1f} GiB free", expected)


def downloads(needed: Collection[str], found: Collection[str], needs_text: bool) -> list[str]:
    """Returns the names of the catalogue to download, in its order.

    `needed` and `found` are parts of `src.checkpoints`; with `needs_text` the embeddings of the
    constant prompts are still to be made.
    """
    missing = {part for part in needed if part not in found}
    names = {
        "gen3c": "generator" in missing,
        "tokenizer": "tokenizer" in missing,
        "lyra": bool(missing & {"decoder_static", "decoder_dynamic"}),
        "t5": needs_text and "t5" not in found,
        "moge": "moge" in missing,
    }
    return [name for name, wanted in names.items() if wanted]


def check_memory(available_gib: float, peak: Peak | None, makes_text: bool) -> float:
    """Returns the GiB of the host's memory that the run needs at once; raises if there is less.

    `peak` is None on the CPU, whose needs are not known. With `makes_text` T5 runs once, layer by
    layer.
    """
    streamed = peak is not None and "--offload_diffusion_transformer" in peak.flags
    needs = {
        "T5-11b, once (--disable_prompt_encoder does without it)": T5_GIB if makes_text else 0.0,
        "the transformer, which streams from there": STREAMED_GIB if streamed else 0.0,
    }
    for what, gib in needs.items():
        if available_gib < gib:
            value = f"{available_gib:.1f} GiB available"
            raise InputError("memory of the machine", value, f"{gib:.1f} GiB for {what}")
    return max(needs.values())


def check_disk(free_gb: float, folder: object, download_gb: float) -> float:
    """Returns the gigabytes that downloads and results need; raises if there is less."""
    needed = download_gb + RESULTS_GB
    if free_gb < needed:
        expected = f"{needed:.1f} GB: {download_gb:.1f} to download, {RESULTS_GB:.0f} for results"
        raise InputError(folder, f"{free_gb:.1f} GB free", expected)
    return needed
