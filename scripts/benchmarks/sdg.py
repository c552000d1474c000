"""One clip from a picture with a depth file, by the command's own code, on random weights.

Full size on a GPU (121 frames of 704x1280, bfloat16), a small one on a CPU. Variables:
`SDG_STEPS` fewer sampling steps (35), `SDG_CLIPS` trajectories of the scene (1, at most 6),
`SDG_OFFLOAD_STEPS` steps of the runs with offload flags (2; 0 leaves them out), `SDG_COMPILE=1`.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cosmos_predict1.diffusion import run as sdg
from cosmos_predict1.diffusion.config import sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, save_generator
from cosmos_predict1.diffusion.sampling import recipe
from cosmos_predict1.diffusion.scenes.shots import list_shots
from src.io.image.image import write_png
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import save_tokenizer

from .row import Row

GIB = 2**30
STEPS = 35
# Two evaluations a step of 4.3 s, and everything else; loading apart.
EVALUATION_BUDGET, OTHER_BUDGET = 4.3, 30.0
FULL = TransformerConfig()
SMALL = replace(
    FULL,
    num_attention_heads=2,
    attention_head_dim=12,
    num_layers=2,
    adaln_lora_dim=4,
    sampling=SamplingDefaults(
        height=64, width=96, num_frames=9, fps=24.0, num_steps=STEPS, guidance=1.0
    ),
)
SMALL_TOKENIZER = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}
OFFLOADS = ("diffusion_transformer", "tokenizer")
NO_TEXT = "--disable_prompt_encoder"


@dataclass
class Times:
    """Seconds spent in the functions that were wrapped."""

    seconds: dict[str, float] = field(default_factory=dict)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to `name`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = now()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + now() - start

        return timed


def run(device: torch.device) -> Iterator[Row]:
    """Seconds of a clip, its parts, and peak memory with and without offload flags."""
    config = FULL if device.type == "cuda" else SMALL
    steps, clips = int(os.environ.get("SDG_STEPS", STEPS)), int(os.environ.get("SDG_CLIPS", "1"))
    offload_steps = int(os.environ.get("SDG_OFFLOAD_STEPS", "2"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights", config, device)
        write_input(folder, config.sampling.height, config.sampling.width)
        compiled = ["--compile"] if os.environ.get("SDG_COMPILE") == "1" else []
        yield from measure(folder, device, steps, clips, compiled)
        if device.type == "cpu" or offload_steps == 0:
            return
        for offloaded in ((), OFFLOADS[:1], OFFLOADS[1:], OFFLOADS):
            yield from peak(folder, device, offload_steps, offloaded)


def write_weights(folder: Path, config: TransformerConfig, device: torch.device) -> None:
    """Random weights of the generator and the tokenizer, in the layout of our own."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        network = Gen3CTransformer(config).to(dtype)
    save_generator(network, folder / "generator")
    architecture = {} if config == FULL else SMALL_TOKENIZER
    save_tokenizer(
        VideoTokenizer(architecture, torch.zeros(16, 16), torch.ones(16, 16)), folder / "tokenizer"
    )


def write_input(folder: Path, height: int, width: int) -> None:
    """A picture of blocks, and their depth, with edges between them."""
    from PIL import Image

    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 255, (11, 20, 3), dtype=np.uint8)
    picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
    write_png(folder / "picture.png", torch.from_numpy(np.array(picture)))
    z = Image.fromarray(generator.uniform(1, 3, (11, 20)).astype(np.float32))
    depth = np.asarray(z.resize((width, height), Image.Resampling.NEAREST))
    lens = np.array([width, width, width / 2, height / 2], dtype=np.float32)
    np.savez(folder / "depth.npz", depth=depth, intrinsics=lens)


def make_clips(
    folder: Path, device: torch.device, steps: int, clips: int, flags: list[str]
) -> dict[str, float]:
    """Run the command into a fresh folder; returns the seconds in all, loading and sampling."""
    line = ["--checkpoint_dir", folder / "weights", "--input_image_path", folder / "picture.png"]
    line += ["--depth", folder / "depth.npz", "--foreground_masking"]
    line += ["--num_steps", steps, "--multi_trajectory", "--device", device.type, *flags]
    times = Times()
    originals = sdg.load_gen3c, recipe.sample, sdg.list_shots
    sdg.load_gen3c = times.wrap("loading", originals[0])
    recipe.sample = times.wrap("sampling", originals[1])
    sdg.list_shots = lambda cameras: list_shots(cameras)[:clips]
    try:
        with tempfile.TemporaryDirectory() as output:
            line += ["--video_save_folder", f"{output}/clips"]
            config = sdg_config(static_parser("").parse_args([str(part) for part in line]))
            times.wrap("all", sdg.run)(config)
    finally:
        sdg.load_gen3c, recipe.sample, sdg.list_shots = originals
    return times.seconds


def measure(
    folder: Path, device: torch.device, steps: int, clips: int, flags: list[str]
) -> Iterator[Row]:
    """Seconds of the whole, loading apart, and of its parts."""
    seconds = make_clips(folder, device, steps, clips, [NO_TEXT, *flags])
    full = device.type == "cuda"
    name = " ".join([f"{clips} of {steps} steps", *flags])
    total = seconds["all"] - seconds["loading"]
    budget = clips * (2 * steps * EVALUATION_BUDGET + OTHER_BUDGET)
    yield Row(f"{name}, without loading", total, budget=budget if full else None)
    yield Row(f"{name}, loading", seconds["loading"])
    evaluation = seconds["sampling"] / (2 * steps * clips)
    yield Row(f"{name}, one evaluation", evaluation, budget=EVALUATION_BUDGET if full else None)
    other = (total - seconds["sampling"]) / clips
    yield Row(f"{name}, all but sampling, a clip", other, budget=OTHER_BUDGET if full else None)
    if full:
        yield Row(f"{name}, peak", torch.cuda.max_memory_allocated(device) / GIB, "GiB")


def peak(
    folder: Path, device: torch.device, steps: int, offloaded: tuple[str, ...]
) -> Iterator[Row]:
    """Peak memory of a clip of a few steps with offload flags, and its sampling speed."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    flags = [f"--offload_{part}" for part in offloaded]
    seconds = make_clips(folder, device, steps, 1, [NO_TEXT, *flags])
    name = " ".join(flags) or "no offload flag"
    yield Row(f"{name}, peak", torch.cuda.max_memory_allocated(device) / GIB, "GiB")
    yield Row(f"{name}, one evaluation", seconds["sampling"] / (2 * steps))


def now() -> float:
    """Seconds of a clock, the device's queue drained."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
