"""Make, measure and release the small weights: `python scripts/nano.py VERB [--help]`.

    train     train all parts from nothing, or some of them
    ablate    train the static decoder without one idea after another
    clips     make the clips that the decoders learn from
    evaluate  measure on held-out worlds; a tokenizer also on photographs and videos
    export    write the weights of a training for use
    release   write all weights in half precision, with a model card
    report    put figures, curves and sheets into docs/nano.md

A command that is called again skips what is finished and resumes what was stopped.

train [PART ...] [KEY=VALUE ...]: the parts in their order (default: all but distill)

    tokenizer depth generator   trainings, a few minutes of a GPU each
    clips_static clips_dynamic  clips by the generator, for the decoders ("clips": both)
    base                        the decoder's stages 1 to 6: one trajectory, then up to six
    static                      stage 7: six trajectories, a falling learning rate
    dynamic                     stages 8 and 9, from stage 6: moving scenes ("decoders": all three)
    evaluate                    figures on held-out worlds
    release                     half precision and the model card, into --release
    distill                     the generator of OUTPUT, else of --release, in four steps: OUTPUT/
                                distill has weights and evaluations of consistency distillation
                                and, from there, of distribution matching

KEY=VALUE are settings of the trainings of the decoders and of distill. A part writes its output
into OUTPUT/PART.log, and its seconds into OUTPUT/minutes.txt. The first failure stops.

ablate [VARIANT ...] [KEY=VALUE ...]: full, truth (learns from the worlds themselves instead of the
generator's clips), one_trajectory, no_depth_loss, no_pruning, transformer_only (default: all), on
the clips of `train clips`. OUTPUT/ablations has decoders and evaluations. KEY=VALUE are settings of
the trainings.

clips [KEY=VALUE ...]: OUTPUT/static has the six trajectories of each world, and with dynamic=true
OUTPUT/dynamic those of moving worlds and the six of the reversed video, each with depth maps:

    output=outputs/nano/clips     checkpoint_dir=outputs/nano   dynamic=false
    first_seed=0                  worlds=8                      worlds_at_once=8
    depth=nano|truth|mixed        targets=generated|truth       archives=nano|truth|none
    seed=1    spread=0    workers=(one a core)    max_minutes=(no limit)    timing=false

`targets=truth` shows the worlds themselves (the ablation on real data), and wants depth=truth.

evaluate worlds: OUTPUT has evaluation.json (figures, and whether they reach what is asked),
seeds.csv (every figure of every world) and contact sheets. Parts evaluated apart (--what, each with
its own --output) are joined by --join FOLDER ....

evaluate tokenizer FOLDER: PSNR in dB over RGB. A window slides over a photograph in 17 frames; its
first frame is also measured alone. A video (PATH:2 takes every second frame) or a folder of its
pictures gives 17 frames, cropped in the middle. OUTPUT has figures.json and sheets.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

EVALUATED = ("tokenizer", "depth", "generator", "static", "dynamic")
CLIP: Any = {"action": "append", "default": [], "dest": "clips", "metavar": "KEY=VALUE"}
DTYPES = ("float16", "bfloat16", "float32")


def main() -> int:
    """Parse the arguments and run the verb."""
    parser = manual_parser(__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_making(verbs)
    _add_evaluations(verbs)
    _add_exports(verbs)
    arguments, more = parser.parse_known_args()
    # Words after a flag.
    if more and ("words" not in arguments or any(word.startswith("-") for word in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        arguments.words += more

    from nano.commands import run_verb

    return run_verb(arguments)


def _from(least: int) -> Callable[[str], int]:
    """Returns a reader of whole numbers from `least` up."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} up")
        return int(text)

    return read


def _minutes(text: str) -> float:
    """Returns a finite number above 0."""
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError("expected a number above 0")
    return float(text)


def _add_making(verbs: Any) -> None:
    """Add `train`, `ablate` and `clips`."""
    add = verbs.add_parser("train", help="all parts from nothing, or some").add_argument
    add("words", nargs="*", metavar="PART|KEY=VALUE")
    add("--output", type=Path, default=Path("outputs/nano"), help="%(default)s")
    add("--release", type=Path, default=Path("assets/nano"), help="%(default)s")
    add("--processes", type=_from(1), default=1, metavar="N", help="of a training, a GPU each (1)")
    add("--together", action="store_true", help="clips, then decoders, side by side on one GPU too")
    text = "of the only part, or of tokenizer, depth, generator, clips, distill, "
    text += "distill_distribution"
    add("--minutes", action="append", default=[], metavar="[PART=]N", help=text)
    text = "minutes of the decoder's stages; 0 skips one"
    add("--stages", type=float, nargs=9, metavar="N", help=text)
    add("--worlds_static", type=_from(1), default=1000, help="that become clips (%(default)s)")
    add("--worlds_dynamic", type=_from(1), default=520, help="that become clips (%(default)s)")
    text = "number of the first world that becomes clips, to go on with others (%(default)s)"
    add("--first_world", type=_from(0), default=0, help=text)
    text = "a release with the weights of a first stage that continues no other"
    add("--start", type=Path, help=text)
    add("--makers", type=_from(1), default=1, help="processes that make clips of one kind (1)")
    add("--workers", type=_from(0), help="processes of a maker that write clips (share the cores)")
    add("--seeds", type=_from(0), help="held-out worlds to evaluate on (64)")
    add("--clip", **CLIP, help="a setting of the clips")

    add = verbs.add_parser("ablate", help="the static decoder without each idea").add_argument
    add("words", nargs="*", metavar="VARIANT|KEY=VALUE")
    add("--output", type=Path, default=Path("outputs/nano"), help="of `train`; %(default)s")
    add("--steps", type=_from(1), default=800, help="with six trajectories (%(default)s)")
    add("--worlds", type=_from(1), default=350, help="in the clips of `truth` (%(default)s)")
    add("--seeds", type=_from(0), default=64, help="held-out worlds (%(default)s); 0: none")
    add("--clip", **CLIP, help="a setting of the clips of `truth`")
    add("--evaluate", default="", metavar='"FLAG ..."', help="of `evaluate worlds`")

    add = verbs.add_parser("clips", help="clips for the decoders").add_argument
    add("words", nargs="*", metavar="KEY=VALUE")


def _add_evaluations(verbs: Any) -> None:
    """Add `evaluate` and `report`."""
    kinds = verbs.add_parser("evaluate", help="figures")
    kinds = kinds.add_subparsers(dest="kind", required=True)
    add = kinds.add_parser("worlds", help="all weights on held-out worlds").add_argument
    add("--what", nargs="+", choices=EVALUATED, help="default: all")
    add("--nano", type=Path, default=Path("assets/nano"), help="the weights; default: assets/nano")
    add("--output", type=Path, default=Path("outputs/nano/evaluation"), help="%(default)s")
    add("--seeds", type=_from(1), default=64, help="worlds of each kind (%(default)s)")
    add("--frames", type=int, default=17, help="of every clip (%(default)s)")
    add("--size", type=int, nargs=2, default=(256, 448), metavar=("HEIGHT", "WIDTH"))
    add("--stride", type=_from(1), default=4, help="frames between rendered ones (%(default)s)")
    text = "of the input: exact, or by the small network"
    add("--depth", nargs="+", choices=("true", "nano"), dest="sources", help=text)
    add("--decoder_static", type=Path, help="instead of the one below --nano")
    add("--decoder_dynamic", type=Path, help="instead of the one below --nano")
    add("--generator", type=Path, help="instead of the one below --nano")
    add("--num_steps", type=_from(1), help="of the generator; default: as its config.json says")
    add("--trajectories", type=int, nargs="+", choices=range(6), help="that the decoders see")
    add("--join", type=Path, nargs="+", metavar="FOLDER", help="only join evaluations into OUTPUT")
    add("--minutes", type=_minutes, help="start no further worlds after so many; default: no limit")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")

    add = kinds.add_parser("tokenizer", help="on photographs, videos, held-out worlds").add_argument
    add("tokenizer", type=Path, metavar="FOLDER")
    add("--photos", type=Path, nargs="*", default=[], help="pictures, or folders of them")
    add("--videos", nargs="*", default=[], metavar="PATH[:STRIDE]", help="videos or folders")
    add("--worlds", type=_from(0), default=0, help="held-out worlds of a kind (%(default)s)")
    add("--size", type=int, nargs=2, default=(256, 448), metavar=("HEIGHT", "WIDTH"))
    add("--output", type=Path, help="folder for figures.json and sheets")

    add = verbs.add_parser("report", help="fill in docs/nano.md").add_argument
    add("--runs", type=Path, default=Path("outputs/nano"), help="OUTPUT of `train`; %(default)s")
    add("--document", type=Path, default=Path("docs/nano.md"), help="%(default)s")
    add("--images", type=Path, default=Path("docs/images"), help="%(default)s")


def _add_exports(verbs: Any) -> None:
    """Add `export` and `release`."""
    kinds = verbs.add_parser("export", help="weights of a training")
    kinds = kinds.add_subparsers(dest="kind", required=True)
    add = kinds.add_parser("weights", help="of any run of train.py").add_argument
    add("source", type=Path, metavar="RUN", help="its newest checkpoint")
    add("target", type=Path, metavar="FOLDER")
    add("--raw", action="store_true", help="not the moving average")

    text = "of a tokenizer, with the statistics of its latents; prints figures of held-out worlds"
    add = kinds.add_parser("tokenizer", help=text).add_argument
    add("source", type=Path, metavar="RUN")
    add("target", type=Path, metavar="TARGET")
    add("--dtype", choices=DTYPES, default="bfloat16", help="type of the weights (%(default)s)")
    add("--held-out", type=_from(0), default=64, help="worlds of a kind; 0: no figures")
    add("--report", type=Path, help="folder for figures.json and sheets of clips")

    text = "of a decoder's checkpoint-<step>, in the published layout (bfloat16)"
    add = kinds.add_parser("decoder", help=text).add_argument
    add("source", type=Path, metavar="CHECKPOINT")
    add("target", type=Path, metavar="TARGET", help="receives a folder of the checkpoint's name")
    text = "the moving average of the weights, or not; by default where there is one"
    add("--average", action=argparse.BooleanOptionalAction, help=text)

    add = verbs.add_parser("release", help="weights in half precision, model card").add_argument
    add("source", type=Path, metavar="OUTPUT", help="OUTPUT/evaluation is quoted in the card")
    add("target", type=Path, metavar="FOLDER")
    add("--dtype", choices=DTYPES, default="float16", help="%(default)s")


if __name__ == "__main__":
    run_entry(main, "nano.py", "stopped; the same command goes on")
