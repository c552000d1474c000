"""From a picture or a video to a 3D or 4D scene, on any machine:

    bash scripts/quickstart.sh [PICTURE | VIDEO | FOLDER] [OPTION ...] [KEY=VALUE ...]

Sets the environment up (scripts/setup.sh), then runs the two commands of the project: the first
makes six clips along six camera paths, the second makes Gaussians of them and renders these. The
default input is assets/demo/garden.jpg; a FOLDER stands for all its pictures and videos. With the
small weights of the project a picture takes two minutes. Then it writes page.html beside the scene,
to look around in it in a browser. The same call resumes a stopped run. A word that is a file or a
folder is the input, even with "=" in its name.

  --output DIR          folder of the results (outputs/quickstart, outputs/full)
  --seed N              other noise and other camera paths (1)
  --checkpoint_dir DIR  other weights (assets/nano; with --full: checkpoints)
  --depth NAME          source of the depth, as of gen3c_single_image_sdg.py (nano; with --full:
                        auto, which is MoGe)
  --device cpu          do not use the GPU; with --full for trials at small sizes only
  --python PATH         an interpreter that has all packages: nothing is set up
  KEY=VALUE             settings of the second command (configs/inference/default.yaml)

  --full                the published weights, 704x1280 pixels and 121 frames, on a GPU: checks GPU,
                        memory, disk and weights first, offers the download of what is missing, and
                        chooses the networks that leave the GPU while they do not work
  --yes                 download what is missing without asking
  --disable_prompt_encoder
                        with --full: zeros in place of T5's embeddings of the two constant prompts,
                        which saves T5: 45 GB on the disk
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import run_entry


def main() -> int:
    """Make the scenes; returns 2 for refused input and 128 + N after signal N."""
    from quickstarts.request import parse_request

    request = parse_request(sys.argv[1:], __doc__ or "")

    from quickstarts.commands import Children, Terminated
    from quickstarts.run import make_scenes

    from src.runtime import InputError

    try:
        with Children() as children:
            return make_scenes(request, children)
    except InputError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 2
    except Terminated as stop:
        print(f"quickstart: {stop}", file=sys.stderr)
        return 128 + stop.number


if __name__ == "__main__":
    run_entry(main, "quickstart")
