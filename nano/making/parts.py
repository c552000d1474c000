"""The parts of the small weights, and the order in which they are made from nothing."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from src.runtime import InputError

from ..release import ORIGIN
from ..release import PARTS as WEIGHTS
from ..seeds import TRAIN
from .part import (
    CONFIGS,
    REPOSITORY,
    Part,
    Processes,
    has_gpu,
    has_weights,
    is_evaluated,
    running,
    visible_gpus,
)

MULTI = "3dgs_res_704_1280_views_121_multi_6"
# Minutes of training that no command line changes; None: no limit.
MINUTES: dict[str, float | None] = {
    "tokenizer": 7.4,
    "tokenizer_finish": 5.0,
    "depth": 4.0,
    "generator": 7.0,
    "photos": 8.0,
    "clips": None,
}
# Minutes of the updates of the decoder's nine stages; 0 skips a stage.
STAGES = (0.5, 0.0, 0.4, 0.0, 1.2, 10.0, 6.2, 10.0, 6.2)
ALL = ("tokenizer", "depth", "generator", "clips", "decoders", "evaluate", "release")
# Names for several parts: the tuples run one after another, the parts of a tuple side by side.
GROUPS = {
    "clips": [("clips_static", "clips_dynamic")],
    "decoders": [("base",), ("static", "dynamic")],
}


@dataclass(frozen=True, kw_only=True)
class MakingConfig:
    """How the weights are made.

    Attributes:
        output: everything is written below it.
        release: the folder that ships.
        processes: of a training, each with a GPU; parts that run side by side share them.
        together: run parts side by side on one GPU too.
        minutes: other minutes than `MINUTES`.
        stages: minutes of the decoder's nine stages.
        worlds_static: still worlds that become clips.
        worlds_dynamic: moving worlds that become clips.
        start: a release whose decoders stages 6 and 8 start from, if no stage before them runs.
        makers: processes that make clips of one kind, each of worlds of its own.
        workers: processes of a maker that write clips; None shares the cores.
        large: 256x448 pixels instead of 176x320, for `photos`.
        seeds: held-out worlds to evaluate on.
        clips: further KEY=VALUE settings of the clips.
        settings: further KEY=VALUE settings of the trainings of the decoders and of `photos`.
        python: the interpreter of all commands.
    """

    output: Path = Path("outputs/nano")
    release: Path = Path("assets/nano")
    processes: int = 1
    together: bool = False
    minutes: Mapping[str, float] = field(default_factory=dict)
    stages: Sequence[float] = STAGES
    worlds_static: int = 1000
    worlds_dynamic: int = 520
    start: Path | None = None
    makers: int = 1
    workers: int | None = None
    large: bool = False
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
    def small(self) -> list[str]:
        """Settings of small trainings: the configurations ask for a GPU's precision."""
        return [] if has_gpu() else ["loop.mixed_precision=no"]

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

    def limit(self, name: str) -> float | None:
        """Minutes of a training or of the clips; None for no limit."""
        return self.minutes.get(name, MINUTES[name])


def make(config: MakingConfig, names: Sequence[str]) -> None:
    """Make parts, or everything if none is named, in the order given.

    Raises:
        InputError: an unknown part.
        Stopped: a part failed, or the process was told to stop.
    """
    for name in names:
        if name not in PARTS and name not in GROUPS:
            raise InputError("part", name, f"one of {', '.join([*PARTS, *GROUPS])}")
    config.output.mkdir(parents=True, exist_ok=True)
    with running() as own:
        for name in names or ALL:
            for group in GROUPS.get(name, [(name,)]):
                _run_group(config, own, group)


def _run_group(config: MakingConfig, own: Processes, names: Sequence[str]) -> None:
    """Run parts side by side on a half of the GPUs each (on one GPU: together, or in turn)."""
    gpus, minutes = visible_gpus(config.processes), config.output / "minutes.txt"
    apart = len(names) > 1 and config.beside > 1
    half = (len(gpus) + 1) // 2
    works = []
    for number, name in enumerate(names):
        first = number * half % len(gpus)
        part = Part(
            name=name,
            log=config.output / f"{name}.log",
            processes=own,
            python=config.python,
            gpus=gpus[first : first + half] if apart else gpus,
            shown=not apart,
        )
        works.append(partial(part.timed, partial(PARTS[name], config), minutes))
    if apart:
        own.beside(works)
    else:
        for work in works:
            work()


def _tokenizer(config: MakingConfig, part: Part) -> None:
    """Train the tokenizer on crops in all colours, then on whole frames from these weights."""
    target, training = config.output / "tokenizer", config.output / "training"
    first, last, file = training / "tokenizer_first", training / "tokenizer_last", "tokenizer.yaml"
    if has_weights(target):
        return
    if not has_weights(first):
        part.train(
            *("--config", CONFIGS / file, f"loop.output_dir={training / 'tokenizer'}"),
            *(f"loop.max_minutes={config.limit('tokenizer')}", *config.small),
            alone=True,
        )
        part.nano("export", "weights", training / "tokenizer", first)
    finish = training / "tokenizer_finish"
    part.train(
        *("--config_default", CONFIGS / file, "--config", CONFIGS / "tokenizer_finish.yaml"),
        *(f"loop.output_dir={finish}", f"loop.initial_weights={first}"),
        *(f"loop.max_minutes={config.limit('tokenizer_finish')}", *config.small),
        alone=True,
    )
    part.nano("export", "weights", finish, last)
    # With the statistics of the averaged weights' latents.
    flags = ("--dtype", "float32", "--held-out", config.seeds)
    part.nano("export", "tokenizer", finish, target, *flags)
    shutil.copy(last / ORIGIN, target)


def _network(name: str, config: MakingConfig, part: Part) -> None:
    """Train the depth network or the generator."""
    target, run = config.output / name, config.output / "training" / name
    if has_weights(target):
        return
    tokenizer = [f"tokenizer={config.output / 'tokenizer'}"] if name == "generator" else []
    part.train(
        *("--config", CONFIGS / f"{name}.yaml", f"loop.output_dir={run}"),
        *(f"loop.max_minutes={config.limit(name)}", *config.small, *tokenizer),
    )
    part.nano("export", "weights", run, target)


def _photos(config: MakingConfig, part: Part) -> None:
    """Train a tokenizer for photographs; the minutes are those of all calls."""
    output, name = config.output, "tokenizer_photos"
    files = ["--config", CONFIGS / f"{name}.yaml"]
    if config.large:
        files = ["--config_default", files[1], "--config", CONFIGS / f"{name}_large.yaml"]
    minutes = f"loop.total_minutes={config.limit('photos')}"
    part.train(*files, f"loop.output_dir={output / 'run'}", minutes, *config.settings, alone=True)
    flags = ("--dtype", "float16", "--held-out", config.seeds, "--report", output / "report")
    part.nano("export", "tokenizer", output / "run", output / "tokenizer", *flags)


def _clips(kind: str, config: MakingConfig, part: Part) -> None:
    """Make the clips of one kind; finished worlds are skipped."""
    dynamic, makers, limit = kind == "dynamic", config.makers, config.limit("clips")
    each = -(-(config.worlds_dynamic if dynamic else config.worlds_static) // makers)
    workers = config.workers
    if workers is None:
        workers = max((os.cpu_count() or 1) // (config.beside * makers), 1)
    settings = [f"output={config.output / 'clips'}", f"checkpoint_dir={config.output}"]
    settings += [f"dynamic={str(dynamic).lower()}", f"worlds={each}", f"workers={workers}"]
    settings += [] if limit is None else [f"max_minutes={limit}"]
    first, works = TRAIN.of(dynamic).start, []
    for number in range(makers):
        words = [*settings, f"first_seed={first + number * each}", *config.clips]
        gpus = [part.gpus[number % len(part.gpus)]]
        works.append(partial(part.nano, "clips", *words, gpus=gpus))
    part.processes.beside(works)


def _ladder(
    first: int, last: int, name: str | None, run: str, config: MakingConfig, part: Part
) -> None:
    """Train stages of the decoder; the last one's weights become `name`."""
    output = config.output
    ends = (
        [output / "decoder_static", output / "decoder_dynamic"] if name is None else [output / name]
    )
    if all(map(has_weights, ends)):
        return
    start = [f"loop.initial_weights={config.start / name}"] if config.start and name else []
    part.run(
        *("bash", REPOSITORY / "train.sh", first, last, f"vae_path={output / 'tokenizer'}"),
        *(*start, *config.decoder, *config.settings),
        DATA=output / "clips",
        CONFIGS=CONFIGS,
        OUTPUT=output,
        MINUTES=" ".join(f"{each:g}" for each in config.stages),
        # Dynamic scenes start from one trajectory.
        DYNAMIC=5,
        LAUNCH=" ".join(part.launch),
    )
    if name is not None:
        part.nano("export", "weights", output / "training" / run, output / name)


def _evaluate(config: MakingConfig, part: Part) -> None:
    """Measure all weights on held-out worlds."""
    output, target = config.output, config.output / "evaluation"
    if not is_evaluated(target, config.seeds, [output / name for name in WEIGHTS]):
        flags = ("--nano", output, "--output", target, "--seeds", config.seeds)
        part.nano("evaluate", "worlds", *flags)


def _release(config: MakingConfig, part: Part) -> None:
    """Write the weights in half precision, with a model card."""
    part.nano("release", config.output, config.release)


PARTS: dict[str, Callable[[MakingConfig, Part], None]] = {
    "tokenizer": _tokenizer,
    "depth": partial(_network, "depth"),
    "generator": partial(_network, "generator"),
    "clips_static": partial(_clips, "static"),
    "clips_dynamic": partial(_clips, "dynamic"),
    "base": partial(_ladder, 1, 5, None, ""),
    "static": partial(_ladder, 6, 7, "decoder_static", f"{MULTI}_prune"),
    "dynamic": partial(_ladder, 8, 9, "decoder_dynamic", f"{MULTI}_dynamic_prune"),
    "evaluate": _evaluate,
    "release": _release,
    "photos": _photos,
}
