"""Evaluate the small weights on held-out worlds: `python scripts/evaluate_nano.py [--seeds 64]`.

Worlds that no training has seen are rendered exactly; clips and Gaussians made from their first
frames (of moving ones: from the video of a still camera) are compared with them. OUTPUT receives
evaluation.json (all figures, and whether they reach what is asked), seeds.csv (every figure of
every world) and contact sheets. `python scripts/evaluate.py nano ...` is the same.

Parts can be evaluated beside each other (`--what`, each with an OUTPUT of its own) and joined:
`python scripts/evaluate_nano.py --join FOLDER [FOLDER ...] [--output OUTPUT]`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARTS = ("tokenizer", "depth", "generator", "static", "dynamic")


def main(words: Sequence[str] | None = None) -> int:
    """Parse the arguments, evaluate, print the figures and the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--what", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    add("--nano", type=Path, default=Path("assets/nano"), help="the weights; default: assets/nano")
    add("--output", type=Path, default=Path("outputs/nano/evaluation"), help="%(default)s")
    add("--seeds", type=int, default=64, help="worlds of each kind (%(default)s)")
    add("--frames", type=int, default=17, help="of every clip (%(default)s)")
    add("--size", type=int, nargs=2, default=(176, 320), metavar=("HEIGHT", "WIDTH"))
    add("--stride", type=int, default=4, help="frames between rendered ones (%(default)s)")
    add("--depth", nargs="+", choices=("true", "nano"), default=("true", "nano"))
    add("--decoder_static", type=Path, help="instead of the one below --nano")
    add("--decoder_dynamic", type=Path, help="instead of the one below --nano")
    add("--trajectories", type=int, nargs="+", choices=range(6), help="which the decoders see")
    add("--join", type=Path, nargs="+", metavar="FOLDER", help="only join evaluations into OUTPUT")
    add("--minutes", type=float, help="begin no further worlds after so many; default: see all")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args(words)
    if arguments.minutes is not None and not 0 < arguments.minutes < float("inf"):
        parser.error("--minutes is a number above 0")
    if arguments.seeds < 1 or arguments.stride < 1:
        parser.error("--seeds and --stride are at least 1")

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from nano.evaluation.report.joining import join_evaluations
    from src.runtime import InputError, setup_logging

    setup_logging()
    try:
        if arguments.join:
            content: Mapping[str, Any] = join_evaluations(arguments.join, arguments.output)
        else:
            content = _evaluate(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _show(content)
    return 0


def _evaluate(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """What was measured with the settings of the command line."""
    import torch

    from nano.evaluation.evaluate import evaluate
    from nano.evaluation.settings import ORDER, Settings
    from src.runtime import default_device

    decoders = {"static": arguments.decoder_static, "dynamic": arguments.decoder_dynamic}
    settings = Settings(
        arguments.nano,
        arguments.output,
        tuple(arguments.what),
        arguments.seeds,
        arguments.frames,
        (arguments.size[0], arguments.size[1]),
        arguments.stride,
        tuple(arguments.depth),
        {name: path for name, path in decoders.items() if path is not None},
        tuple(arguments.trajectories or ORDER),
        minutes=arguments.minutes,
    )
    device = default_device() if arguments.device == "auto" else torch.device(arguments.device)
    return evaluate(settings, device)


def _show(content: Mapping[str, Any]) -> None:
    """Print figures, checks and seconds."""
    for name, figure in content["figures"].items():
        print(f"{name:34}", ", ".join(f"{key} {_number(value)}" for key, value in figure.items()))
    for check in content["checks"]:
        said = {True: "reached", False: "MISSED", None: "not measured"}[check["reached"]]
        print(f"{said:12} {check['what']}: {_number(check['value'])} of {_number(check['least'])}")
    print(f"seconds: {content['seconds']} on {content['hardware']}")


def _number(value: float | int | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
