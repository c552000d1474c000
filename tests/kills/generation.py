"""The command for pictures as a job that is killed: six clips of one picture, tiny weights.

The undisturbed run takes some seconds, all but half of one of them imports. A clip is finished
when its metadata is there. A killed call leaves a lock and a temporary file at most, beside files
of the clip that it was writing.
"""

from pathlib import Path

from kills.harness import KilledJob
from tiny_generator import MULTI, write_picture, write_tiny_weights

from src.io.clip.clip import ClipPaths, is_finished

ENTRY = "cosmos_predict1/diffusion/inference/gen3c_single_image_sdg.py"
PARTS = ("rgb", "pose", "intrinsics", "latent", "meta")


def generation_job(folder: Path) -> KilledJob:
    """Clips of a picture that is written into `folder` first, as are the weights."""
    write_tiny_weights(folder / "weights")
    write_picture(folder / "photo.png")

    def command(out: Path) -> list[str]:
        given = ["--checkpoint_dir", str(folder / "weights"), "--multi_trajectory"]
        given += ["--input_image_path", str(folder / "photo.png"), "--save_buffer"]
        return [ENTRY, *given, "--video_save_folder", str(out / "clips")]

    return KilledJob(command, _finished, Path.read_bytes)


def _finished(out: Path) -> dict[str, list[Path]]:
    clips = [ClipPaths(out / "clips", name, "photo") for name in MULTI]
    done = [clip for clip in clips if is_finished(clip)]
    return {clip.trajectory: [clip.part(part) for part in PARTS] for clip in done}
