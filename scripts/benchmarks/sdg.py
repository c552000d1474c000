"""One clip from a picture with a depth file, by the command's own code, on random weights.

Full size on a GPU (121 frames of 704x1280, bfloat16), a small one on a CPU. Loading is timed apart,
and one evaluation of the network is the difference between a run and one of a single step.
Variables: `SDG_STEPS` of sampling (35, at least 2), `SDG_OFFLOAD_STEPS` of the runs with offload
flags (3; 0 leaves them out), `SDG_COMPILE=1`.

    CUDA_VISIBLE_DEVICES=0 python scripts/benchmark.py sdg:same

runs one whole clip of a rung of `--speed` instead, on weights of its own: `exact`, `same`, `fast`,
or `fp8`, which is `fast` with `--precision fp8`. With random weights the step cache of `fast` would
skip more than with trained ones, so its clip is made without; a row has the scene with as many
forwards as nano's trained weights took on the test worlds. `SDG_STAGE_2` are the seconds of stage 2
in a new process (20). `sdg:scene,same` first makes all six clips with one step: what a clip takes
besides its forwards lies partly beside those of the next, so the scene is then computed with this.
"""

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cosmos_predict1.diffusion.config import SdgConfig, sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig
from cosmos_predict1.diffusion.model.network import save_generator
from cosmos_predict1.diffusion.run import LOGGER
from cosmos_predict1.diffusion.run import run as make_clips
from cosmos_predict1.diffusion.sampling.pipeline import load_gen3c
from src.io.image import write_png

from .generator import FULL, random_network
from .inputs import TINY_TOKENIZER, write_tokenizer
from .row import Row, check_parts, logged, peak_memory, reset_peak, seconds

STEPS = 35
# Two evaluations a step of 4.3 s, and the rest of a clip without loading.
EVALUATION_BUDGET, OTHER_BUDGET = 4.3, 30.0
SMALL = replace(
    FULL,
    num_attention_heads=2,
    attention_head_dim=12,
    num_layers=2,
    adaln_lora_dim=4,
    sampling=SamplingDefaults(height=64, width=96, num_frames=9, num_steps=STEPS),
)
OFFLOADS = ("--offload_diffusion_transformer", "--offload_tokenizer")
NO_TEXT = "--disable_prompt_encoder"


@dataclass(frozen=True, kw_only=True)
class MeasuredRung:
    """A way to make a clip, and the minutes that a scene of six may take.

    `forwards` are those of a clip on average, where they are fewer than those of this benchmark.
    """

    speed: Sequence[str]
    precision: str = "bf16"
    forwards: float | None = None
    budget: float


ALL_FORWARDS = ("--speed", "fast", "--step_cache", "0")
RUNGS = {
    "exact": MeasuredRung(speed=("--speed", "exact"), budget=24.5),
    "same": MeasuredRung(speed=("--speed", "same"), budget=12),
    "fast": MeasuredRung(speed=ALL_FORWARDS, forwards=14.9, budget=7.5),
    "fp8": MeasuredRung(speed=ALL_FORWARDS, precision="fp8", forwards=14.9, budget=5),
}
CLIPS, STAGE_2 = 6, 20.0
SCENE, ALL_CLIPS = "scene", "--multi_trajectory"
FORWARDS, SAMPLING = re.compile(r": (\d+) forwards"), re.compile(r"sample ([\d.]+)")


@dataclass(frozen=True)
class ClipBench:
    """Makes clips of the inputs in a folder, each into a new folder.

    Its weights lie in `weights`, the picture and its depth beside them.
    """

    folder: Path
    device: torch.device
    flags: Sequence[str]

    def config(self, steps: int | None, output: str) -> SdgConfig:
        """The configuration of the command for one clip; without `steps` those of its rung."""
        line = ["--checkpoint_dir", self.folder / "weights"]
        line += [] if steps is None else ["--num_steps", steps]
        line += ["--input_image_path", self.folder / "picture.png", "--foreground_masking"]
        line += ["--depth", self.folder / "depth.npz", "--video_save_folder", output]
        line += ["--device", self.device.type, *self.flags]
        return sdg_config(static_parser("").parse_args([str(part) for part in line]))

    def loading(self) -> float:
        """Returns the seconds of loading the networks, with files in the page cache."""
        config = self.config(1, "unused")
        return seconds(lambda: load_gen3c(config), repeats=1)

    def clip(self, steps: int | None) -> float:
        """Returns the seconds of a whole clip, loading included."""
        with tempfile.TemporaryDirectory() as output:
            config = self.config(steps, f"{output}/clips")
            return seconds(lambda: make_clips(config), repeats=1, warm_up=0)


def run(device: torch.device, rungs: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the time of a clip and of its parts, and peak memory with and without offloading.

    With `rungs`, yields the times of a whole clip of each instead, of all six clips for "scene".
    """
    check_parts(rungs, (SCENE, *RUNGS))
    config = FULL if device.type == "cuda" else SMALL
    steps = int(os.environ.get("SDG_STEPS", STEPS))
    offload_steps = int(os.environ.get("SDG_OFFLOAD_STEPS", "3"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights", config, device)
        write_input(folder, config.sampling.height, config.sampling.width)
        if rungs:
            rest = None
            if SCENE in rungs:
                rest = _scene_rest(folder, device)
                yield Row(f"the rest of a scene of {CLIPS} clips, without loading", rest)
            for rung in rungs:
                if rung != SCENE:
                    yield from _whole_clip(folder, device, rung, rest)
            return
        compiled = ["--compile"] if os.environ.get("SDG_COMPILE") == "1" else []
        yield from measure(ClipBench(folder, device, [NO_TEXT, *compiled]), steps)
        if device.type == "cpu" or offload_steps == 0:
            return
        for offloaded in ((), OFFLOADS[:1], OFFLOADS[1:], OFFLOADS):
            reset_peak(device)
            maker = ClipBench(folder, device, [NO_TEXT, *offloaded])
            evaluation = _evaluation(offload_steps, maker.clip(offload_steps), maker.clip(1))
            name = " ".join(offloaded) or "no offload flag"
            yield peak_memory(f"{name}, peak", device)
            yield Row(f"{name}, one evaluation", evaluation)


def _scene_rest(folder: Path, device: torch.device) -> float:
    """Returns the seconds of all six clips, made with one step, without loading and sampling."""
    # Compiles kernels.
    ClipBench(folder, device, [NO_TEXT]).clip(1)
    maker = ClipBench(folder, device, [NO_TEXT, ALL_CLIPS])
    loading = maker.loading()
    with logged(LOGGER, logging.INFO) as records:
        whole = maker.clip(1)
    return whole - loading - _told(records, SAMPLING)


def _told(records: Sequence[logging.LogRecord], pattern: re.Pattern[str]) -> float:
    """Returns the sum of the numbers that the log has of a kind."""
    return sum(float(found) for record in records for found in pattern.findall(record.getMessage()))


def _whole_clip(
    folder: Path, device: torch.device, rung: str, scene_rest: float | None
) -> Iterator[Row]:
    """Measures a clip with all steps of a rung, and computes the minutes of a scene.

    `scene_rest` is that of `_scene_rest`; None: the rest of this clip, times six.
    """
    chosen = RUNGS[rung]
    flags = [NO_TEXT, "--precision", chosen.precision]
    # Compiles kernels.
    ClipBench(folder, device, flags).clip(1)
    maker = ClipBench(folder, device, [*flags, *chosen.speed])
    loading = maker.loading()
    reset_peak(device)
    with logged(LOGGER, logging.INFO) as records:
        whole = maker.clip(None)
    forwards, sampling = _told(records, FORWARDS), _told(records, SAMPLING)
    rest = whole - loading - sampling
    name = " ".join(maker.flags[1:])
    yield Row(f"{name}, a clip, total", whole)
    yield Row(f"{name}, forwards", forwards, "")
    yield Row(f"{name}, sampling", sampling)
    yield Row(f"{name}, one forward", sampling / forwards)
    yield Row(f"{name}, loading", loading)
    yield Row(f"{name}, the rest of the clip", rest)
    yield peak_memory(f"{name}, peak", device)
    after = loading + float(os.environ.get("SDG_STAGE_2", STAGE_2))
    after += CLIPS * rest if scene_rest is None else scene_rest
    for count in dict.fromkeys((forwards, chosen.forwards or forwards)):
        minutes = (CLIPS * sampling * count / forwards + after) / 60
        title = f"{name}, a scene of {CLIPS} clips of {count:g} forwards, loading, stage 2"
        wanted = device.type == "cuda" and count == (chosen.forwards or forwards)
        yield Row(title, minutes, "min", budget=chosen.budget if wanted else None)


def write_weights(folder: Path, config: TransformerConfig, device: torch.device) -> None:
    """Writes random weights of the generator and the tokenizer, in our own layout."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    save_generator(random_network(config, device, dtype), folder / "generator")
    write_tokenizer(folder / "tokenizer", {} if config == FULL else TINY_TOKENIZER, 16)


def write_input(folder: Path, height: int, width: int) -> None:
    """Writes a picture of blocks, and their depth, with edges between them."""
    from PIL import Image

    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 255, (11, 20, 3), dtype=np.uint8)
    picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
    write_png(folder / "picture.png", torch.from_numpy(np.array(picture)))
    z = Image.fromarray(generator.uniform(1, 3, (11, 20)).astype(np.float32))
    depth = np.asarray(z.resize((width, height), Image.Resampling.NEAREST))
    intrinsics = np.array([width, width, width / 2, height / 2], dtype=np.float32)
    np.savez(folder / "depth.npz", depth=depth, intrinsics=intrinsics)


def measure(maker: ClipBench, steps: int) -> Iterator[Row]:
    """Yields the time of a clip without loading, and of its parts."""
    full = maker.device.type == "cuda"
    # Compiles kernels.
    maker.clip(1)
    loading, single = maker.loading(), maker.clip(1)
    reset_peak(maker.device)
    whole = maker.clip(steps)
    name = " ".join([f"{steps} steps", *maker.flags[1:]])
    budget = 2 * steps * EVALUATION_BUDGET + OTHER_BUDGET if full else None
    yield Row(f"{name}, without loading", whole - loading, budget=budget)
    yield Row(f"{name}, loading", loading)
    evaluation = _evaluation(steps, whole, single)
    yield Row(f"{name}, one evaluation", evaluation, budget=EVALUATION_BUDGET if full else None)
    other = single - loading - 2 * evaluation
    yield Row(f"{name}, all but sampling", other, budget=OTHER_BUDGET if full else None)
    yield peak_memory(f"{name}, peak", maker.device)


def _evaluation(steps: int, whole: float, single: float) -> float:
    """Returns the seconds of one evaluation: every step but the first has two."""
    return (whole - single) / (2 * (steps - 1))
