r"""Turn pictures, or prompts, into clips that a camera films while it moves around.

    python cosmos_predict1/diffusion/inference/gen3c_single_image_sdg.py \
        --input_image_path photo.jpg --video_save_folder outputs/photo \
        --multi_trajectory --foreground_masking

The input is a picture, a folder of pictures, a JSONL file (--batch_input_path) or a --prompt alone,
of which a text-to-image model makes a picture first. With --multi_trajectory the folder holds

    <0 to 5>/rgb/<name>.mp4             the video: left, right, up, zoom out, zoom in, spiral
    <0 to 5>/pose/<name>.npz            camera-to-world poses, OpenCV axes
    <0 to 5>/intrinsics/<name>.npz      fx fy cx cy in pixels
    <0 to 5>/latent/<name>.pkl          what sample.py turns into Gaussians
    <0 to 5>/meta/<name>.json           how it was made; written last

and otherwise one trajectory, without the numbered folders. Finished clips are left alone, so the
same command goes on where a stopped one left off. On several GPUs:

    torchrun --nproc_per_node 8 cosmos_predict1/diffusion/inference/gen3c_single_image_sdg.py \
        --num_gpus 8 ...

Every process loads the networks and takes its share of the trajectories. For fewer clips than
GPUs, `--context_parallel 2` lets two processes share each clip; `--guidance_parallel` does so with
less exchange between the GPUs, and both flags together take four processes a clip.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def main() -> None:
    """Read the flags, make the clips."""
    from cosmos_predict1.diffusion.flags import run_command, static_parser

    run_command(static_parser(__doc__ or ""))


if __name__ == "__main__":
    from src.entry import run_entry

    run_entry(main, "gen3c_single_image_sdg.py", "stopped; the same command goes on")
