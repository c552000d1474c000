"""What the full size needs, decided from what there is: pure functions, tables in tests.

The figures of memory are the measured peaks of docs/performance.md.
"""

from collections.abc import Collection
from dataclasses import dataclass

from src.runtime import InputError


@dataclass(frozen=True)
class Peak:
    """GiB of the GPU that the generator takes with some flags, and what these cost."""

    gib: float
    flags: tuple[str, ...]
    words: str


# From the fastest on. The text encoder is not in these figures: its two constant embeddings are
# made beforehand, on the CPU.
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
# What the allocator takes beyond what it gives out.
SPARE_GIB = 0.5
# The transformer in bfloat16, 7.24 billion parameters, which rests in pinned memory of the host.
STREAMED_GIB = 13.5
# T5-11b's pytorch_model.bin of 45.2 GB, where its format does not let it be mapped.
T5_GIB = 42.1
# Clips, renderings and Gaussians of a scene, with room to spare.
RESULTS_GB = 2.0


def choose_peak(free_gib: float) -> Peak:
    """The fastest way to generate that fits into the free memory of a GPU.

    Raises:
        InputError: none does.
    """
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
    """What is to be downloaded, by the names of the catalogue, in its order.

    Args:
        needed: parts of `src.checkpoints` that the run takes.
        found: those that are there, of whatever kind.
        needs_text: the embeddings of the constant prompts are wanted and not kept yet.
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
    """GiB of the host's memory that the run needs at once.

    Args:
        available_gib: what there is.
        peak: how the generator runs; None on the CPU, of which nothing is known.
        makes_text: T5 is loaded from a file that cannot be mapped.

    Raises:
        InputError: there is less.
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
    """Gigabytes that downloads and results need; `InputError` where there is less."""
    needed = download_gb + RESULTS_GB
    if free_gb < needed:
        expected = f"{needed:.1f} GB: {download_gb:.1f} to download, {RESULTS_GB:.0f} for results"
        raise InputError(folder, f"{free_gb:.1f} GB free", expected)
    return needed
