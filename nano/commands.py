"""The verbs of scripts/nano.py, from parsed arguments to the exit code."""

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from src.config.loading import file_layer, load_train_config
from src.io.json_object import write_json
from src.models.recon.decoder import load_decoder
from src.runtime import InputError, default_device, setup_logging
from src.training.checkpoints.files import export_checkpoint
from src.training.loop.interruption import Interrupted, Stopped
from src.training.tokenizer.config import TokenizerTrainConfig
from src.training.tokenizer.task import export_tokenizer

from .clips.config import load_clips_config
from .clips.run import make_clips
from .evaluation.evaluate import evaluate
from .evaluation.figures.tokenizer import footage_figures, world_figures
from .evaluation.made import Settings
from .evaluation.report.document import fill_document
from .evaluation.report.joining import join_evaluations
from .making.ablations import AblationConfig, ablate
from .making.parts import MakingConfig, make
from .release import export_weights, release

T = TypeVar("T")


def run_verb(arguments: Namespace) -> int:
    """Run the verb of parsed arguments; returns the exit code, or raises `InputError`."""
    setup_logging()
    try:
        VERBS[f"{arguments.verb} {getattr(arguments, 'kind', '')}".strip()](arguments)
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
    more = {"minutes": minutes, "settings": settings}
    make(_config(MakingConfig, arguments, **more), names)


def _ablate(arguments: Namespace) -> None:
    names, settings = _split(arguments.words)
    flags = shlex.split(arguments.evaluate)
    ablate(_config(AblationConfig, arguments, settings=settings, flags=flags), names)


def _clips(arguments: Namespace) -> None:
    config = load_clips_config(arguments.words)
    _say(f"{config.output}: {make_clips(config)} clips made")


def _evaluate_worlds(arguments: Namespace) -> None:
    if arguments.join:
        _show(join_evaluations(arguments.join, arguments.output))
        return
    decoders = {"static": arguments.decoder_static, "dynamic": arguments.decoder_dynamic}
    decoders = {name: path for name, path in decoders.items() if path is not None}
    settings = _config(Settings, arguments, decoders=decoders)
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
    names = ("photos", "videos", "worlds", "output")
    given = {name: getattr(arguments, name) for name in names}
    figures = footage_figures(arguments.tokenizer, tuple(arguments.size), **given)
    _write_figures(figures, arguments.output)


def _export_tokenizer(arguments: Namespace) -> None:
    run, target = arguments.source, arguments.target
    config = load_train_config(TokenizerTrainConfig, [file_layer(run / "config.yaml")])
    exported = export_tokenizer(config, run, target, getattr(torch, arguments.dtype))
    count, report = arguments.held_out, arguments.report
    figures = world_figures(config.data, target, count, report) if count else {}
    _write_figures({**exported, "figures": figures}, report)


def _export_weights(arguments: Namespace) -> None:
    origin = export_weights(arguments.source, arguments.target, not arguments.raw)
    _say(f"{arguments.target}: step {origin.step}{', averaged' * origin.averaged}")


def _export_decoder(arguments: Namespace) -> None:
    def read(folder: Path) -> dict[str, torch.Tensor]:
        return dict(load_decoder(folder).state_dict())

    _say(str(export_checkpoint(arguments.source, arguments.target, read, arguments.average)))


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


def _config(kind: type[T], arguments: Namespace, **more: object) -> T:
    """Returns a configuration of the arguments that were given and of `more`."""
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (vars(arguments) | more).items()
        if value is not None and name in kind.__annotations__
    }
    return kind(**given)


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
