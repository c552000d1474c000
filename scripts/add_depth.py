"""Write depth maps beside clips that have none: `python scripts/add_depth.py CLIPS --depth NAME`.

CLIPS is a folder `<trajectory>/rgb/<scene>.mp4`; the maps go to `<trajectory>/depth/<scene>.zip`.
The depth loss of the decoder's training compares with them up to a scale and a shift of each frame,
so any depth network serves: `auto` is MoGe, or our small network if CHECKPOINT_DIR holds it, as
assets/nano does. Clips with depth are left alone.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

NAMES = ("auto", "moge", "depth_anything", "video_depth_anything", "nano")


def main() -> None:
    """Write the missing depth maps and print their number."""
    parser = manual_parser(__doc__)
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--depth", choices=NAMES, default="auto", help="where it comes from (auto)")
    parser.add_argument("--checkpoint_dir", default="checkpoints", help="weights (checkpoints)")
    parser.add_argument("--device", help="cpu or cuda (cuda where there is one)")
    parser.add_argument("--overwrite", action="store_true", help="replace depth that is there")
    arguments = parser.parse_args()

    from src.depth.backends.video import resolve_video_depth
    from src.runtime import default_device, setup_logging
    from src.training.decoder.data import add_depth

    setup_logging()
    device = arguments.device or default_device()
    backend = resolve_video_depth(arguments.depth, arguments.checkpoint_dir, device)
    written, found = add_depth(arguments.clips, backend, arguments.overwrite)
    print(f"{arguments.clips}: depth of {written} clips by {backend.name}, {found} had theirs")


if __name__ == "__main__":
    run_entry(main, "add_depth.py", "stopped; the same command goes on")
