"""From a picture or a video to a 3D or 4D scene, on any machine:

    bash scripts/quickstart.sh [PICTURE | VIDEO | FOLDER] [OPTION ...] [KEY=VALUE ...]

Sets the environment up (scripts/setup.sh), then runs the two commands of the project: one makes six
clips along six camera paths, the other makes Gaussians of them and renders these. Without an
argument the input is assets/demo/garden.jpg; of a FOLDER every picture and every video is taken.
The small weights that come with the project make it in a minute. Called again, it goes on where it
stopped. What is there as a file or folder is the input, also with "=" in its name.

  --output DIR          where the results go (outputs/quickstart, outputs/full)
  --seed N              other noise and other camera paths (1)
  --checkpoint_dir DIR  other weights (assets/nano; with --full: checkpoints)
  --depth NAME          where depth comes from, as of gen3c_single_image_sdg.py (nano; with --full:
                        auto, which is MoGe)
  --device cpu          stay away from the GPU; with --full for trials at small sizes only
  --python PATH         an interpreter that has all packages: nothing is set up
  KEY=VALUE             settings of the second command (configs/inference/default.yaml)

  --full                the published weights, 704x1280 pixels and 121 frames, on a GPU: looks at
                        GPU, memory, disk and weights first, says what is missing and offers the
                        download, chooses what leaves the GPU while it does not work
  --yes                 download what is missing without asking
  --disable_prompt_encoder
                        with --full: zeros in the place of T5's embeddings of the two constant
                        prompts, which saves T5: 45 GB on the disk, and as much memory once
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Read the arguments, make the scenes, return the exit code."""
    from quickstarts.request import parse_request

    request = parse_request(sys.argv[1:], __doc__ or "")

    from quickstarts.children import Children, Stopped
    from quickstarts.run import make_scenes

    from src.runtime import InputError

    try:
        with Children() as children:
            return make_scenes(request, children)
    except InputError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"quickstart: {stop}", file=sys.stderr)
        return 128 + stop.number


if __name__ == "__main__":
    sys.exit(main())
