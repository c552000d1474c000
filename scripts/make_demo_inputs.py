"""Make the inputs of the quickstart again: `python scripts/make_demo_inputs.py [--output DIR]`.

Three pictures and a short video of procedural worlds that no training sees (seeds from 990,000
on), and a photograph in the public domain that comes with scikit-image. The same encoders give the
same pictures to the last bit.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[1]
PICTURES = {"room": 990_002, "garden": 990_011, "studio": 990_026}
VIDEO, VIDEO_SEED = "bouncing_ball", 990_104
PICTURE_SIZE, VIDEO_SIZE = (704, 1280), (352, 640)
# As long as the clips of the small weights.
FRAMES, FPS = 17, 24
JPEG_QUALITY, VIDEO_QUALITY = 92, 8


def main() -> None:
    """Render and write all inputs."""
    parser = manual_parser(__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "assets" / "demo")
    folder = parser.parse_args().output

    import torch
    from skimage import data

    from src.io.video.video import write_video

    # Sums over several threads may differ in their last bits.
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in PICTURES.items():
        write_picture(folder / f"{name}.jpg", world_frames(seed, 1, PICTURE_SIZE)[0])
    write_picture(folder / "coffee.jpg", torch.from_numpy(data.coffee()))
    video = world_frames(VIDEO_SEED, FRAMES, VIDEO_SIZE)
    write_video(folder / f"{VIDEO}.mp4", video, FPS, quality=VIDEO_QUALITY)


def world_frames(seed: int, frames: int, size: tuple[int, int]) -> "UInt8[Tensor, 'frame h w 3']":
    """Renders frames of a world from a still camera."""
    import torch

    from nano.worlds.film import film_pool
    from nano.worlds.scene import World

    still = torch.eye(4).expand(1, 1, frames, 4, 4)
    # Compiled arithmetic may round otherwise.
    with torch.compiler.set_stance("force_eager"):
        world = World(seed, dynamic=frames > 1)
        pool = film_pool([world], still, size, device="cpu", supersample=3)
    return pool.color[0, 0].permute(1, 2, 3, 0).contiguous()


def write_picture(path: Path, picture: "UInt8[Tensor, 'h w 3']") -> None:
    """Writes a JPEG without subsampled colours."""
    from PIL import Image

    Image.fromarray(picture.numpy()).save(path, quality=JPEG_QUALITY, subsampling=0)


if __name__ == "__main__":
    run_entry(main, "make_demo_inputs.py")
