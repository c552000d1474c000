"""Make the clips that the small decoders learn from: `make_nano_clips.py [KEY=VALUE ...]`.

Procedural worlds become clips as the commands make them, many at once: `OUTPUT/static` has the six
trajectories of each world; with `dynamic=true` `OUTPUT/dynamic` has those of moving worlds and the
six of the reversed video. Depth maps for the depth loss lie beside them. Finished clips are left
alone, so the same command goes on where a stopped one left off. The keys:

    output=outputs/nano/clips     checkpoint_dir=outputs/nano   dynamic=false
    first_seed=0                  worlds=8                      worlds_at_once=8
    depth=nano|truth|mixed        targets=generated|truth       archives=nano|truth|none
    seed=1    spread=0    workers=(one a core)    max_minutes=(no limit)    timing=false

`targets=truth` shows the worlds themselves (the ablation on real data), and wants depth=truth.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments, make the clips."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from nano.clips.config import load_clips_config
    from nano.clips.run import make_clips
    from src.runtime import InputError, setup_logging
    from src.training.loop.interruption import Stopped

    setup_logging()
    try:
        config = load_clips_config(arguments.settings)
        print(f"{config.output}: {make_clips(config)} clips made")
    except (InputError, Stopped) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # The first Ctrl-C lets the worlds in progress end, the second one does not.
        print("stopped at once; the same command makes what is missing", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
