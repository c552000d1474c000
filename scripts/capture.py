"""A scene against reality: `python scripts/evaluate.py capture CAPTURE [OPTION ...]`.

CAPTURE is a still scene's pictures with their cameras: a camera JSON whose frames name their
`image`, a transforms.json of nerfstudio, a folder of COLMAP (sparse/0 and images), a text file of
RealEstate10K beside its folder of pictures, or a folder with one of these. One of the pictures
becomes a scene by the project's two commands, or --scene names one that is made. It is rendered at
the cameras of the other pictures, beside two baselines: the input's pixels at their depth, and the
input itself. The output folder receives metrics.json, summary.md, sheet.png and manifest.json,
which fixes input and targets for --manifest. docs/capture.md is the protocol.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry


def main() -> None:
    """Makes a scene of a picture of the capture, measures it and prints the tables."""
    arguments = _parse()

    import torch
    from quickstarts.captured import captured_scene, scene_size

    from src.depth.backends.choice import resolve_depth
    from src.evaluation.capture.measure import measure_capture
    from src.evaluation.capture.reading import read_capture
    from src.evaluation.capture.report import choose_frames, write_report
    from src.evaluation.capture.scale import input_view, write_depth_with_lens
    from src.evaluation.compare import METRICS, load_measures
    from src.runtime import default_device, setup_logging

    setup_logging()
    capture = read_capture(arguments.capture)
    frames = choose_frames(capture, arguments.input, arguments.manifest)
    out, weights = arguments.output or Path("outputs/capture") / capture.name, arguments.weights
    device = default_device() if arguments.device == "auto" else torch.device(arguments.device)
    source, made_with = arguments.depth, {"lens_of": arguments.lens}
    if arguments.lens == "captured":
        network = resolve_depth(source, weights, device)
        path = write_depth_with_lens(capture, frames.origin, network, out / "depth.npz")
        source, made_with["estimated_by"] = str(path.absolute()), network.name
        # The commands need its memory.
        del network
    gaussians, rasterizer = captured_scene(
        capture.pictures[frames.origin], out, device=device, depth=source, options=arguments
    )
    depth = resolve_depth(source, weights, device)
    measures = load_measures(METRICS, weights / "lpips", device)
    view = input_view(capture, frames.origin, depth, scene_size(weights))
    measured = measure_capture(
        capture,
        frames.origin,
        frames.targets,
        view=view,
        gaussians=gaussians,
        measures=measures,
        backend=rasterizer,
    )
    made_with |= {"depth": depth.name, "divisor": view.divisor, "lens": view.intrinsics.tolist()}
    made_with |= {"scene": str(arguments.scene or "made"), "seed": arguments.seed}
    print(write_report(out, capture, frames, measured, measures=measures, made_with=made_with))


def _parse() -> argparse.Namespace:
    parser = manual_parser(__doc__)
    add = parser.add_argument
    add("capture", type=Path, metavar="CAPTURE")
    add("--checkpoint_dir", dest="weights", type=Path, default=Path("checkpoints"))
    add("--input", metavar="NAME|INDEX", help="default: the first picture, or the manifest's")
    add("--output", type=Path, metavar="DIR", help="default: outputs/capture/NAME")
    add("--scene", type=Path, metavar="PLY|RESULTS", help="of the same input, depth, lens, size")
    add("--manifest", type=Path, metavar="FILE", help="default: all other pictures are targets")
    add("--depth", default="auto", help="as of gen3c_single_image_sdg.py; default: auto")
    text = "of the input's depth: the depth network's (default), or the capture's"
    add("--lens", choices=("estimated", "captured"), default="estimated", help=text)
    add("--seed", type=int, default=1, help="default: 1")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--disable_prompt_encoder", action="store_true", help="full size: without T5")
    return parser.parse_args()


if __name__ == "__main__":
    run_entry(main, "evaluate.py capture")
