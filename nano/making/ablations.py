"""Ablations at nano scale: the static decoder from nothing, as it is and without each idea.

All variants train for equally many steps on the clips of `train clips`. `ablations/VARIANT` below
the output receives the decoder, `ablations/VARIANT_evaluation` its figures on held-out worlds.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from src.runtime import InputError

from .part import CONFIGS, PartRun, has_gpu, has_weights, is_evaluated, running, visible_gpus
from .parts import MULTI

# The settings of each variant.
VARIANTS: dict[str, list[str]] = {
    "full": [],
    # Trained on the worlds themselves instead of the generator's clips.
    "truth": ["dataset_root={output}/clips_truth/static"],
    "one_trajectory": ["num_input_multi_views=1", "num_views=24"],
    "no_depth_loss": ["lambda_depth=0", "use_depth=false"],
    "no_pruning": ["gaussians_prune_ratio=0", "lambda_opacity=0"],
    "transformer_only": ["use_mamba=false"],
}
GPU = (
    *("batch_size=8", "num_workers=12", "mixed_precision=bf16", "num_test_scenes=16"),
    *("loop.report_every=20", "loop.validate_every=0", "checkpointing_steps=400"),
)


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """How the variants are trained and measured: the options of `scripts/nano.py ablate --help`.

    `settings` and `clips` are KEY=VALUE settings; `python` is the interpreter of all commands.
    """

    output: Path = Path("outputs/nano")
    steps: int = 800
    worlds: int = 350
    seeds: int = 64
    clips: Sequence[str] = ()
    settings: Sequence[str] = ()
    flags: Sequence[str] = ()
    python: str = sys.executable


def ablate(config: AblationConfig, variants: Sequence[str]) -> None:
    """Train and measure variants, or all if none is named; raises `Stopped`."""
    for variant in variants:
        if variant not in VARIANTS:
            raise InputError("variant", variant, f"one of {', '.join(VARIANTS)}")
    folder = config.output / "ablations"
    folder.mkdir(parents=True, exist_ok=True)
    with running() as processes:
        for variant in variants or VARIANTS:
            part = PartRun(
                name=variant,
                log=folder / f"{variant}.log",
                processes=processes,
                python=config.python,
                gpus=visible_gpus(1),
            )
            part.timed(partial(_make_variant, config))


def _make_variant(config: AblationConfig, part: PartRun) -> None:
    """Train one variant in two stages, export and measure it."""
    output, variant = config.output, part.name
    decoder = output / "ablations" / variant
    if not has_weights(decoder):
        if variant == "truth":
            words = (f"output={output / 'clips_truth'}", f"checkpoint_dir={output}")
            words += ("depth=truth", "targets=truth", "archives=truth", f"worlds={config.worlds}")
            part.nano(["clips", *words, *config.clips])
        training = output / "ablations/training" / variant
        resumed = f"resume_from_checkpoint_dir={training / MULTI}"
        _train(config, part, training / MULTI, config.steps)
        _train(config, part, training / f"{MULTI}_prune", config.steps // 4, resumed)
        part.nano(["export", "weights", training / f"{MULTI}_prune", decoder])
    target = output / f"ablations/{variant}_evaluation"
    if config.seeds and not is_evaluated(target, config.seeds, [decoder]):
        words = ["--what", "static", "--nano", output, "--decoder_static", decoder]
        words += ["--output", target, "--seeds", config.seeds]
        words += ["--trajectories", 0] if variant == "one_trajectory" else []
        part.nano(["evaluate", "worlds", *words, *config.flags])


def _train(config: AblationConfig, part: PartRun, folder: Path, steps: int, *resumed: str) -> None:
    """Train one stage, whose name is that of the folder."""
    settings = [word.format(output=config.output) for word in VARIANTS[part.name]]
    if part.name == "no_pruning" and not resumed:
        # Only the second stage prunes; the first one is alike in all variants.
        settings = []
    files = ["--config_default", CONFIGS / "default.yaml"]
    files += ["--config", CONFIGS / f"{folder.name}.yaml"]
    places = [f"output_dir={folder}", f"dataset_root={config.output / 'clips/static'}"]
    places += [f"vae_path={config.output / 'tokenizer'}", f"loop.stage_steps={steps}"]
    hardware = GPU if has_gpu() else ()
    part.train([*files, *places, *hardware, *settings, *config.settings, *resumed])
