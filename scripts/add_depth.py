"""Write depth maps beside clips that have none: `python scripts/add_depth.py CLIPS --depth NAME`.

CLIPS is a folder `<trajectory>/rgb/<scene>.mp4`; `<trajectory>/depth/<scene>.zip` is written, which
the depth loss of the decoder's training compares with. It does so whatever the scale and shift of
a frame, so any depth network serves: `auto` is MoGe, or our small network where CHECKPOINT_DIR is a
folder of small weights, which brings it (assets/nano). Finished clips are passed over.
"""

import argparse
import sys
from pathlib import Path

NAMES = ("auto", "moge", "depth_anything", "video_depth_anything", "nano")


def main() -> int:
    """Parse the arguments, write what is missing, say how many."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--depth", choices=NAMES, default="auto", help="where it comes from (auto)")
    parser.add_argument("--checkpoint_dir", default="checkpoints", help="weights (checkpoints)")
    parser.add_argument("--device", help="cpu or cuda (cuda where there is one)")
    parser.add_argument("--overwrite", action="store_true", help="replace depth that is there")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from src.depth.backends.video import resolve_video_depth
    from src.runtime import InputError, default_device, setup_logging
    from src.training.decoder.add_depth import add_depth

    setup_logging()
    device = arguments.device or default_device()
    try:
        backend = resolve_video_depth(arguments.depth, arguments.checkpoint_dir, device)
        written, found = add_depth(arguments.clips, backend, arguments.overwrite)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.clips}: depth of {written} clips by {backend.name}, {found} had theirs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
