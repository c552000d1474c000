"""The verbs of scripts/nano.py, from parsed arguments to the exit code."""

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from src.config.loading import file_layer
from src.config.tokenizer import load_tokenizer_train_config
from src.config.training import split_task
from src.io.json_object import write_json
from src.models.recon.weights import load_decoder
from src.runtime import InputError, default_device, setup_logging
from src.training.checkpoints.files import export_checkpoint
from src.training.loop.interruption import Interrupted, Stopped
from src.training.tokenizer.export import export_tokenizer

from .clips.config import load_clips_config
from .clips.run import make_clips
from .evaluation.evaluate import evaluate
from .evaluation.figures.tokenizer import footage_figures, world_figures
from .evaluation.report.document import fill_document
from .evaluation.report.joining import join_evaluations
from .evaluation.settings import ORDER, Settings
from .making.ablations import AblationConfig, ablate
from .making.parts import MakingConfig, make
from .release import export_weights, release


def run_verb(arguments: Namespace) -> int:
    """Run the verb of parsed arguments; returns the exit code of the command.

    Raises:
        InputError: a wrong argument, a missing or a damaged file.
    """
    setup_logging()
    try:
        VERBS[arguments.verb](arguments)
    except Stopped as error:
        sys.stderr.write(f"nano.py: {error}\n")
        return error.exit_code if isinstance(error, Interrupted) else 1
    return 0


def _train(arguments: Namespace) -> None:
    names, settings = _split(arguments.words)
    minutes: dict[str, float] = {}
    for word in arguments.minutes:
        name, _, number = word.rpartition("=")
        if not name and len(names) != 1:
            raise InputError("--minutes", word, "PART=MINUTES, where there are several parts")
        try:
            minutes[name or names[0]] = float(number)
        except ValueError as error:
            raise InputError("--minutes", word, "[PART=]MINUTES") from error
    config = MakingConfig(
        **_chosen(arguments, "output release processes together start makers workers large"),
        **_chosen(arguments, "stages worlds_static worlds_dynamic seeds clips"),
        minutes=minutes,
        settings=settings,
    )
    make(config, names)


def _ablate(arguments: Namespace) -> None:
    names, settings = _split(arguments.words)
    chosen = _chosen(arguments, "output steps worlds seeds clips")
    flags = shlex.split(arguments.evaluate)
    ablate(AblationConfig(**chosen, settings=settings, flags=flags), names)


def _clips(arguments: Namespace) -> None:
    config = load_clips_config(arguments.words)
    _say(f"{config.output}: {make_clips(config)} clips made")


def _evaluate_worlds(arguments: Namespace) -> None:
    if arguments.join:
        _show(join_evaluations(arguments.join, arguments.output))
        return
    decoders = {"static": arguments.decoder_static, "dynamic": arguments.decoder_dynamic}
    settings = Settings(
        **_chosen(arguments, "nano output seeds frames stride minutes"),
        what=tuple(arguments.what),
        size=tuple(arguments.size),
        sources=tuple(arguments.depth),
        decoders={name: path for name, path in decoders.items() if path is not None},
        trajectories=tuple(arguments.trajectories or ORDER),
    )
    auto = arguments.device == "auto"
    _show(evaluate(settings, default_device() if auto else torch.device(arguments.device)))


def _show(content: Mapping[str, Any]) -> None:
    """Print figures, checks and seconds of an evaluation."""
    for name, figure in content["figures"].items():
        values = ", ".join(f"{key} {_number(value)}" for key, value in figure.items())
        _say(f"{name:34} {values}")
    for check in content["checks"]:
        said = {True: "reached", False: "MISSED", None: "not measured"}[check["reached"]]
        _say(f"{said:12} {check['what']}: {_number(check['value'])} of {_number(check['least'])}")
    _say(f"seconds: {content['seconds']} on {content['hardware']}")


def _number(value: float | int | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _evaluate_tokenizer(arguments: Namespace) -> None:
    chosen = _chosen(arguments, "photos videos worlds output")
    figures = footage_figures(arguments.tokenizer, tuple(arguments.size), **chosen)
    _write_figures(figures, arguments.output)


def _export_tokenizer(arguments: Namespace) -> None:
    run, target = arguments.source, arguments.target
    _, layers = split_task([file_layer(run / "config.yaml")], ["tokenizer"])
    config = load_tokenizer_train_config(layers)
    exported: dict[str, Any] = asdict(
        export_tokenizer(config, run, target, getattr(torch, arguments.dtype))
    )
    count, report = arguments.held_out, arguments.report
    exported["figures"] = world_figures(config.data, target, count, report) if count else {}
    _write_figures(exported, report)


def _export_weights(arguments: Namespace) -> None:
    origin = export_weights(arguments.source, arguments.target, not arguments.raw)
    _say(f"{arguments.target}: step {origin.step}{', averaged' * origin.averaged}")


def _export_decoder(arguments: Namespace) -> None:
    path = export_checkpoint(
        arguments.source,
        arguments.target,
        read=lambda folder: dict(load_decoder(folder).state_dict()),
        average=arguments.average,
    )
    _say(str(path))


def _release(arguments: Namespace) -> None:
    card = release(arguments.source, arguments.target, getattr(torch, arguments.dtype))
    _say(f"{card} is the model card")


def _report(arguments: Namespace) -> None:
    fill_document(arguments.runs, arguments.document, arguments.images)
    _say(str(arguments.document))


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the names among words, and the KEY=VALUE settings."""
    names, settings = [], []
    for word in words:
        (settings if "=" in word else names).append(word)
    return names, settings


def _chosen(arguments: Namespace, names: str) -> dict[str, Any]:
    """Returns arguments by name, without those that were not given."""
    chosen = {name: getattr(arguments, name) for name in names.split()}
    return {name: value for name, value in chosen.items() if value is not None}


def _write_figures(figures: Mapping[str, Any], folder: Path | None) -> None:
    """Print figures as JSON, and write them into a folder where one is given."""
    _say(json.dumps(figures, indent=1))
    if folder is not None:
        write_json(folder / "figures.json", figures)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


VERBS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "ablate": _ablate,
    "clips": _clips,
    "evaluate worlds": _evaluate_worlds,
    "evaluate tokenizer": _evaluate_tokenizer,
    "export weights": _export_weights,
    "export tokenizer": _export_tokenizer,
    "export decoder": _export_decoder,
    "release": _release,
    "report": _report,
}
