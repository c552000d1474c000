"""The flags of the two generator commands, under their published names; imports no torch.

A flag whose default is None takes the value of the weights' `config.json`, else the published one.
"""

import argparse
import json
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path

from .hardware_flags import add_hardware, add_parallel, add_switches

TRAJECTORIES = (
    *("left", "right", "up", "down", "zoom_in", "zoom_out"),
    *("clockwise", "counterclockwise", "none"),
)
ROTATIONS = ("center_facing", "no_rotation", "trajectory_aligned")
SPEEDS = ("exact", "same", "fast")
SPIRAL_KEYS = ("radius_x_factor", "radius_y_factor", "num_circles")
TEXT_TO_IMAGE = "black-forest-labs/FLUX.1-schnell"
SAMPLING_SWITCHES = {
    "--published_draws": "one noise, drawn on the GPU, and one place in the ranges of distances "
    "for all trajectories, as published, instead of own draws of each trajectory",
    "--disable_prompt_encoder": "zeros instead of the prompts",
    "--foreground_masking": "background does not show through the edges of the foreground",
    "--published_invalid_depth": "pixels without depth hide others, from the world's origin, and "
    "count as depth 0 in the median of --center_depth_quantile, as published",
}


def static_parser(manual: str) -> ArgumentParser:
    """Returns the parser of the command for pictures; `manual` is its description."""
    parser = _parser(manual)
    inputs = parser.add_argument_group("input")
    inputs.add_argument(
        "--input_image_path", help="a picture (jpg, png, webp) or a folder of pictures"
    )
    _add_inputs(inputs, '{"prompt": ..., "visual_input": a picture}')
    inputs.add_argument(
        "--text_to_image_model",
        default=TEXT_TO_IMAGE,
        help="diffusers model that makes the picture of a prompt alone (%(default)s)",
    )
    inputs.add_argument(
        "--noise_aug_strength",
        type=float,
        default=0.0,
        help="noise on the warps of all but the oldest picture of clips in several pieces",
    )
    parser.set_defaults(moving=False)
    return parser


def dynamic_parser(manual: str) -> ArgumentParser:
    """Returns the parser of the command for videos; `manual` is its description."""
    parser = _parser(manual)
    inputs = parser.add_argument_group("input")
    inputs.add_argument("--vipe_path", help="a ViPE result folder, or one of its rgb/*.mp4")
    inputs.add_argument(
        "--input_image_path",
        help="instead of --vipe_path: a video, X.pt, or a folder with rgb.mp4, depth.npz, mask.npz "
        "and camera.npz",
    )
    inputs.add_argument(
        "--vipe_starting_frame_idx", type=int, default=0, help="first frame of the video"
    )
    _add_inputs(inputs, '{"prompt": ..., "visual_input": a video as for the flags above}')
    inputs.add_argument(
        "--center_depth_quantile",
        action=BooleanOptionalAction,
        help="turn about the median depth of the first frame instead of depth 1, where the input "
        "brings its depth; raw results of ViPE need it (published: off)",
    )
    inputs.add_argument(
        "--flip_supervision",
        action="store_true",
        help="with --multi_trajectory: also the same six from the video played backwards, in the "
        "folders 6 to 11, stored forwards in time and without latents",
    )
    parser.set_defaults(moving=True)
    return parser


def run_command(parser: ArgumentParser) -> None:
    """Make the clips that the command line asks for."""
    arguments = parser.parse_args()

    from src.runtime import setup_logging

    from .config import sdg_config
    from .run import run

    setup_logging()
    run(sdg_config(arguments))


def _parser(manual: str) -> ArgumentParser:
    """Returns a parser of the flags that both commands share."""
    parser = ArgumentParser(
        description=manual,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint_dir", default="checkpoints", help="folder of all weights")
    parser.add_argument("--video_save_folder", default="outputs/", help="folder of the clips")
    _add_sampling(parser)
    _add_speed(parser)
    _add_trajectory(parser)
    add_hardware(parser)
    add_parallel(parser)
    return parser


def _add_inputs(group: "argparse._ArgumentGroup", line: str) -> None:
    group.add_argument("--batch_input_path", help=f"a JSONL file of lines {line}")
    group.add_argument("--prompt", default="", help="text of what the clips show (default: none)")
    group.add_argument(
        "--negative_prompt", help="text of what they don't show (default: the published one)"
    )
    group.add_argument(
        "--resize",
        choices=("crop", "pad", "stretch"),
        default="crop",
        help="how input becomes --height x --width: crop and pad keep square pixels, stretch is "
        "the published way (%(default)s)",
    )
    group.add_argument(
        "--depth",
        default="auto",
        help="auto, moge, depth_anything, nano, or a file (.npz, .npy, .exr, .zip); for videos "
        "also video_depth_anything (%(default)s: nano where the checkpoint folder has a depth "
        "network, depth/, else moge, as published)",
    )


def _add_sampling(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "sampling", "defaults are those of the weights' config.json, else the published ones"
    )
    group.add_argument("--num_steps", type=int, help="(published: 35)")
    group.add_argument("--guidance", type=float, help="0 is no guidance (published: 1)")
    group.add_argument(
        "--num_video_frames",
        type=int,
        help="8k + 1 up to the weights' own length; longer ones come in pieces of that length that "
        "share a frame: (n - 1) %% 120 == 0 (published: 121)",
    )
    group.add_argument("--height", type=int, help="(published: 704)")
    group.add_argument("--width", type=int, help="(published: 1280)")
    group.add_argument("--fps", type=float, help="(published: 24; of a video: its own)")
    group.add_argument("--seed", type=int, default=1, help="of all draws (%(default)s)")
    group.add_argument(
        "--rope_precision",
        choices=("exact", "bf16"),
        help="of the positions' angles (published: bf16)",
    )
    group.add_argument(
        "--filter_points_threshold",
        type=float,
        help="pixels at depth edges steeper than this are not warped; 1: all are (published: 0.05)",
    )
    add_switches(group, SAMPLING_SWITCHES)


def _add_speed(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "fewer forwards",
        "a rung of --speed sets the switches below it; a switch that is given beats the rung. "
        "With nano, same and fast lose nothing to exact in PSNR to the truth or in camera error; "
        "the reprojection error grows by 6 %; docs/performance.md has the figures",
    )
    group.add_argument(
        "--speed",
        choices=SPEEDS,
        default="exact",
        help="exact: as published, 70 forwards of the network; same: 20 steps, multistep, no "
        "guidance below 0.3, stop at 0.02: 29 forwards; fast: the same with 14 steps and a step "
        "cache of 0.15: about 15 (%(default)s). Weights that have up to 8 steps by default, as "
        "nano, keep their number",
    )
    group.add_argument(
        "--guidance_interval",
        type=float,
        nargs=2,
        metavar=("LO", "HI"),
        help="run the second branch of --guidance only at noise levels in [LO, HI] (published: 0 "
        "inf)",
    )
    group.add_argument(
        "--sigma_stop",
        type=float,
        help="leave out the noise levels below this one (published: 0)",
    )
    group.add_argument(
        "--solver",
        choices=("euler", "multistep"),
        help="multistep: second order, DPM-Solver++ 2M (published: euler)",
    )
    group.add_argument(
        "--step_cache",
        type=float,
        metavar="THRESHOLD",
        help="reuse the network's last output while its estimated relative change is below this; "
        "0: no cache (published: 0)",
    )


def _add_trajectory(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("camera")
    group.add_argument("--trajectory", choices=TRAJECTORIES, default="left")
    group.add_argument("--camera_rotation", choices=ROTATIONS, default="center_facing")
    group.add_argument(
        "--movement_distance", type=float, default=0.3, help="in units of the centre's depth"
    )
    group.add_argument(
        "--multi_trajectory",
        action="store_true",
        help="six trajectories of drawn distances, in the folders 0 to 5",
    )
    group.add_argument(
        "--total_movement_distance_factor",
        type=float,
        default=1.0,
        help="factor of the distances of --multi_trajectory",
    )
    group.add_argument(
        "--camera_gen_kwargs",
        type=_spiral,
        default={},
        metavar="JSON",
        help=f"shape of a spiral, an object with any of {', '.join(SPIRAL_KEYS)}",
    )
    group.add_argument(
        "--trajectory_file",
        type=Path,
        help="your own cameras (.json, .npz, or the folder of a COLMAP model) instead of "
        "--trajectory; frame 0 is the input",
    )


def _spiral(text: str) -> dict[str, float]:
    """Parse the JSON object of `--camera_gen_kwargs`."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"malformed JSON ({error})") from error
    if not isinstance(values, dict) or not values.keys() <= set(SPIRAL_KEYS):
        raise argparse.ArgumentTypeError(f"{text}, expected an object with {SPIRAL_KEYS}")
    if not all(type(value) in (int, float) for value in values.values()):
        raise argparse.ArgumentTypeError(f"{text}, expected numbers")
    return values
