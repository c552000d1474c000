r"""Turn a video into clips that cameras film at the same time from other places.

    python cosmos_predict1/diffusion/inference/gen3c_dynamic_sdg.py \
        --vipe_path vipe_results/rgb/CLIP.mp4 --video_save_folder outputs/clip \
        --multi_trajectory --foreground_masking

The video comes with depth and cameras: the results of ViPE (`vipe infer VIDEO -p lyra`) below
--vipe_path, or an X.pt or a folder as --input_image_path. A plain video is taken for one of a still
camera, and its depth is estimated (--depth). --batch_input_path is a JSONL file of several.

The output is laid out as that of gen3c_single_image_sdg.py. Every trajectory is relative to the
video's own, possibly moving camera. With --flip_supervision, which training needs, the folders 6 to
11 show the same scene, made from the video played backwards.

Finished clips are left alone; torchrun spreads the trajectories over several GPUs,
and with `--context_parallel 2` two of them share each clip.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def main() -> None:
    """Read the flags, make the clips."""
    from cosmos_predict1.diffusion.flags import dynamic_parser, run_command

    run_command(dynamic_parser(__doc__ or ""))


if __name__ == "__main__":
    from src.entry import run_entry

    run_entry(main, "gen3c_dynamic_sdg.py", "stopped; the same command goes on")
