"""The needs of the full size: pure functions of the machine's figures.

The figures of memory are the measured peaks of docs/performance.md.
"""

from collections.abc import Collection
from dataclasses import dataclass

from src.runtime import InputError


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
DECODER_GIB = 10.0
# GiB that the allocator reserves beyond the peak.
SPARE_GIB = 0.5
# The transformer of 7.24 billion parameters in bfloat16, in pinned memory of the host.
STREAMED_GIB = 13.5
# T5-11b's pytorch_model.bin of 45.2 GB, whose format cannot be mapped into memory.
T5_GIB = 42.1
# Clips, renderings and Gaussians of a scene, with room to spare.
RESULTS_GB = 2.0


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

    `peak` is None on the CPU, whose needs are not known. With `makes_text` T5 is loaded from a file
    that cannot be mapped into memory.
    """
    streamed = peak is not None and "--offload_diffusion_transformer" in peak.flags
    needs = {
        "T5-11b's pytorch_model.bin, once (--disable_prompt_encoder does without it)": (
            T5_GIB if makes_text else 0.0
        ),
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
