"""Compare videos: `python scripts/evaluate.py PREDICTION REFERENCE [--metrics psnr ssim lpips]`.

PREDICTION and REFERENCE are two folders that hold videos, pictures or folders of frames under the
same names (suffixes may differ), or two single files. The output folder receives
metrics/NAME.json with the values of every frame (null: identical frames, whose PSNR is infinite),
summary.json, summary.md and a plot of each metric over the frames. A second run computes only what
changed. Videos of different lengths or sizes are errors unless --frames and --resize make them
equal. LPIPS needs its weights in CHECKPOINT_DIR/lpips.

`evaluate.py nano` is `nano.py evaluate worlds`: the small weights on held-out worlds.
`evaluate.py capture` is `capture.py`: a scene of one picture against a real, posed capture.
"""

import argparse
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

METRICS = ("psnr", "ssim", "lpips")


def frame_count(text: str) -> int | str:
    """Reads `common` or a positive number."""
    if text != "common" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a positive number nor `common`")
    return text if text == "common" else int(text)


def main() -> None:
    """Compare the videos and print the table."""
    if sys.argv[1:2] == ["nano"]:
        sys.argv[1:2] = ["evaluate", "worlds"]
        runpy.run_path(str(Path(__file__).with_name("nano.py")), run_name="__main__")
    if sys.argv[1:2] == ["capture"]:
        del sys.argv[1]
        runpy.run_path(str(Path(__file__).with_name("capture.py")), run_name="__main__")
    parser = manual_parser(__doc__)
    add = parser.add_argument
    add("prediction", type=Path, metavar="PREDICTION")
    add("reference", type=Path, metavar="REFERENCE")
    add("--metrics", nargs="+", choices=METRICS, default=METRICS, help="default: all")
    add("--frames", type=frame_count, metavar="N|common", help="the first N, or all that both have")
    add("--resize", choices=("none", "crop"), default="none", help="crop: fit the reference")
    add("--common_names", action="store_true", help="leave out what one folder lacks")
    add("--out", type=Path, help="default: PREDICTION_evaluation, beside PREDICTION")
    add("--checkpoint_dir", type=Path, default=Path("checkpoints"), help="default: checkpoints")
    arguments = parser.parse_args()

    from src.evaluation.compare import CompareOptions
    from src.evaluation.evaluate import EvaluationConfig, evaluate
    from src.runtime import default_device, setup_logging

    setup_logging()
    prediction = arguments.prediction.resolve()
    name = prediction.stem if prediction.is_file() else prediction.name
    config = EvaluationConfig(
        prediction=arguments.prediction,
        reference=arguments.reference,
        out=arguments.out or prediction.with_name(f"{name}_evaluation"),
        metrics=tuple(dict.fromkeys(arguments.metrics)),
        lpips_folder=arguments.checkpoint_dir / "lpips",
        common_names=arguments.common_names,
        options=CompareOptions(frames=arguments.frames, resize=arguments.resize),
        device=str(default_device()),
    )
    print(evaluate(config))
    print(f"\ndetails: {config.out / 'summary.md'}")


if __name__ == "__main__":
    run_entry(main, "evaluate.py")
