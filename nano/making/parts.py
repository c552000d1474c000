"""The parts of the small weights, and the order in which they are made from nothing."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from src.runtime import InputError

from ..evaluation.report.tables import DISTILLED, UNDISTILLED
from ..release import ORIGIN
from ..release import PARTS as WEIGHTS
from ..seeds import TRAIN
from .part import (
    CONFIGS,
    REPOSITORY,
    PartRun,
    Processes,
    has_gpu,
    has_weights,
    is_evaluated,
    running,
    visible_gpus,
)

MULTI = "3dgs_res_704_1280_views_121_multi_6"
# Minutes where the command line gives none; None: no limit.
MINUTES: Mapping[str, float | None] = {
    "tokenizer": 14.0,
    "depth": 12.0,
    "generator": 14.0,
    "clips": None,
    "distill": 4.0,
    "distill_distribution": 4.0,
}
ALL = ("tokenizer", "depth", "generator", "clips", "decoders", "evaluate", "release")
# Names for several parts: the tuples run in turn, the parts of a tuple side by side.
GROUPS = {
    "clips": [("clips_static", "clips_dynamic")],
    "decoders": [("base",), ("static", "dynamic")],
}


@dataclass(frozen=True, kw_only=True)
class MakingConfig:
    """How the weights are made: the options of `scripts/nano.py train --help`.

    `settings` and `clips` are KEY=VALUE settings; `minutes` replace some of `MINUTES`; clips begin
    with world number `first_world` of the training seeds; `python` is the interpreter of all
    commands.
    """

    output: Path = Path("outputs/nano")
    release: Path = Path("assets/nano")
    processes: int = 1
    together: bool = False
    minutes: Mapping[str, float] = field(default_factory=dict)
    stages: Sequence[float] = (0.5, 0, 0.4, 0, 1.2, 10, 8, 10, 8)
    worlds_static: int = 1000
    worlds_dynamic: int = 520
    first_world: int = 0
    start: Path | None = None
    makers: int = 1
    workers: int | None = None
    seeds: int = 64
    clips: Sequence[str] = ()
    settings: Sequence[str] = ()
    python: str = sys.executable

    def __post_init__(self) -> None:
        for name in self.minutes:
            if name not in MINUTES:
                raise InputError("--minutes", name, f"one of {', '.join(MINUTES)}")

    @property
    def beside(self) -> int:
        """How many parts share the machine."""
        return 2 if self.processes > 1 or self.together else 1

    @property
    def decoder(self) -> list[str]:
        """Settings of the decoders: the configurations suit a CPU, a GPU takes more at once."""
        if not has_gpu():
            return ["loop.report_every=1"]
        return [
            *("batch_size=8", f"num_workers={12 // self.beside}", "mixed_precision=bf16"),
            *("num_test_scenes=16", "loop.report_every=20", "loop.validate_every=1000"),
            "checkpointing_steps=500",
        ]

    def limit(self, name: str, setting: str = "loop.max_minutes", runs: int = 1) -> list[str]:
        """Returns the setting for the minutes of a training or of the clips, which `runs` share."""
        minutes = self.minutes.get(name, MINUTES[name])
        return [] if minutes is None else [f"{setting}={minutes / runs}"]


def make(config: MakingConfig, names: Sequence[str]) -> None:
    """Make the named parts in this order, or all if none is named; raises `Stopped`."""
    for name in names:
        if name not in PARTS and name not in GROUPS:
            raise InputError("part", name, f"one of {', '.join([*PARTS, *GROUPS])}")
    config.output.mkdir(parents=True, exist_ok=True)
    with running() as processes:
        for name in names or ALL:
            for group in GROUPS.get(name, [(name,)]):
                _make_group(config, processes, group)


def _make_group(config: MakingConfig, processes: Processes, names: Sequence[str]) -> None:
    """Make parts side by side on a half of the GPUs each, or in turn if one GPU is not shared."""
    gpus, apart = visible_gpus(config.processes), len(names) > 1 and config.beside > 1
    half, works = (len(gpus) + 1) // 2, []
    for number, name in enumerate(names):
        first = number * half % len(gpus)
        part = PartRun(
            name=name,
            log=config.output / f"{name}.log",
            processes=processes,
            python=config.python,
            gpus=gpus[first : first + half] if apart else gpus,
            shown=not apart,
        )
        works.append(partial(part.timed, partial(PARTS[name], config)))
    if apart:
        processes.beside(works)
    else:
        for work in works:
            work()


def _tokenizer(config: MakingConfig, part: PartRun) -> None:
    """Train the tokenizer; its export has the statistics of the averaged weights' latents."""
    target, run = config.output / "tokenizer", config.output / "training" / "tokenizer"
    if has_weights(target):
        return
    minutes = config.limit("tokenizer", "loop.total_minutes")
    settings = [f"loop.output_dir={run}", *minutes, *_precision()]
    part.train(["--config", CONFIGS / "tokenizer.yaml", *settings], launch=part.launch)
    # The origin beside the weights, for the model card.
    weights = config.output / "training" / "tokenizer_weights"
    part.nano(["export", "weights", run, weights])
    flags = ("--dtype", "float32", "--held-out", config.seeds)
    part.nano(["export", "tokenizer", run, target, *flags])
    shutil.copy(weights / ORIGIN, target)


def _network(name: str, config: MakingConfig, part: PartRun) -> None:
    """Train the depth network or the generator."""
    target, run = config.output / name, config.output / "training" / name
    if has_weights(target):
        return
    settings = [f"loop.output_dir={run}", *config.limit(name), *_precision()]
    if name == "generator":
        settings.append(f"tokenizer={config.output / 'tokenizer'}")
    part.train(["--config", CONFIGS / f"{name}.yaml", *settings], launch=part.launch)
    part.nano(["export", "weights", run, target])


def _distill(config: MakingConfig, part: PartRun) -> None:
    """Distil the generator to four steps: by consistency, then by distribution matching.

    Also measures both and the undistilled one. Where OUTPUT has no generator, that of the release
    is the teacher.
    """
    output = config.output
    source = output if has_weights(output / "generator") else config.release
    folder, start = output / "distill", list[str]()
    for name, training in (("consistency", "distill"), ("distribution", "distill_distribution")):
        target, run = folder / name, output / "training" / training
        if not has_weights(target):
            files = ["--config_default", CONFIGS / "distill.yaml"]
            files += ["--config", CONFIGS / f"{training}.yaml"]
            places = [f"tokenizer={source / 'tokenizer'}", f"teacher={source / 'generator'}"]
            settings = [f"loop.output_dir={run}", *places, *start, *_precision()]
            settings += config.limit(training, "loop.total_minutes")
            part.train([*files, *settings, *config.settings])
            part.nano(["export", "weights", run, target])
        start = [f"loop.initial_weights={target}"]
    for name in DISTILLED:
        target = folder / f"{name}_evaluation"
        weights = source / "generator" if name in UNDISTILLED else folder / name
        if config.seeds and not is_evaluated(target, config.seeds, [weights]):
            words = ["--what", "generator", "--nano", source, "--generator", weights]
            words += ["--depth", "true", "--output", target, "--seeds", config.seeds]
            words += ["--num_steps", UNDISTILLED[name]] if name in UNDISTILLED else []
            part.nano(["evaluate", "worlds", *words])


def _clips(kind: str, config: MakingConfig, part: PartRun) -> None:
    """Make the clips of one kind; finished worlds are skipped.

    Half of the worlds, in turn plain and photo, have the detail of photographs.
    """
    dynamic, makers = kind == "dynamic", config.makers
    worlds = config.worlds_dynamic if dynamic else config.worlds_static
    first = TRAIN.of(dynamic).start + config.first_world
    each, workers = -(-worlds // (2 * makers)), config.workers
    if workers is None:
        workers = max((os.cpu_count() or 1) // (config.beside * makers), 1)
    settings = [f"output={config.output / 'clips'}", f"checkpoint_dir={config.output}"]
    settings += [f"dynamic={str(dynamic).lower()}", f"worlds={each}", f"workers={workers}"]
    settings += config.limit("clips", "max_minutes", runs=2)
    works = []
    for number in range(makers):
        gpus, calls = [part.gpus[number % len(part.gpus)]], []
        for turn, detail in enumerate(("plain", "photo")):
            seed = first + (2 * number + turn) * each
            words = ["clips", *settings, f"first_seed={seed}", f"detail={detail}", *config.clips]
            calls.append(partial(part.nano, words, gpus=gpus))
        works.append(partial(_in_turn, calls))
    part.processes.beside(works)


def _in_turn(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def _stages(
    first: int, last: int, weights: Sequence[str], run: str, config: MakingConfig, part: PartRun
) -> None:
    """Train stages of the decoder that lead to `weights`; a `run` at their end is exported.

    `weights` of `config.start` are those of a first stage that continues no other.
    """
    output = config.output
    if all(has_weights(output / name) for name in weights):
        return
    start = []
    if config.start is not None:
        start = [f"loop.initial_weights={config.start / weights[0]}"]
    part.run(
        [
            "bash",
            REPOSITORY / "train.sh",
            first,
            last,
            f"vae_path={output / 'tokenizer'}",
            *start,
            *config.decoder,
            *config.settings,
        ],
        DATA=output / "clips",
        CONFIGS=CONFIGS,
        OUTPUT=output,
        MINUTES=" ".join(f"{minutes:g}" for minutes in config.stages),
        LAUNCH=" ".join(part.launch),
    )
    if run:
        part.nano(["export", "weights", output / "training" / run, output / weights[0]])


def _evaluate(config: MakingConfig, part: PartRun) -> None:
    """Measure all weights on held-out worlds."""
    output, target = config.output, config.output / "evaluation"
    if not is_evaluated(target, config.seeds, [output / name for name in WEIGHTS]):
        flags = ("--nano", output, "--output", target, "--seeds", config.seeds)
        part.nano(["evaluate", "worlds", *flags])


def _release(config: MakingConfig, part: PartRun) -> None:
    """Write the weights in half precision, with a model card."""
    part.nano(["release", config.output, config.release])


def _precision() -> list[str]:
    """Returns the settings of a small training: the configurations ask for a GPU's precision."""
    return [] if has_gpu() else ["loop.mixed_precision=no"]


PARTS: dict[str, Callable[[MakingConfig, PartRun], None]] = {
    "tokenizer": _tokenizer,
    "depth": partial(_network, "depth"),
    "generator": partial(_network, "generator"),
    "clips_static": partial(_clips, "static"),
    "clips_dynamic": partial(_clips, "dynamic"),
    "base": partial(_stages, 1, 6, ["decoder_static", "decoder_dynamic"], ""),
    "static": partial(_stages, 7, 7, ["decoder_static"], f"{MULTI}_prune"),
    "dynamic": partial(_stages, 8, 9, ["decoder_dynamic"], f"{MULTI}_dynamic_prune"),
    "evaluate": _evaluate,
    "release": _release,
    "distill": _distill,
}
