"""Render a scene along a camera path: `python scripts/render.py SCENE PATH.json OUT.mp4`.

SCENE is a PLY, a folder of PLYs (with times.json, or in the order of their numbers), or an output
folder of sample.py with one scene. PATH is a camera file, as the browser page of view.py saves it:
{"width", "height", "fps", "frames": [{"c2w": 4x4, "intrinsics": [fx, fy, cx, cy], "time"?}]}, such
as scenes/<i>/cameras.json of sample.py; or a file that --trajectory_file takes. Every frame of the
file is one of the video; with --interpolate N they are key frames, and N frames lead from one to
the next.

A moving scene is shown at the `time` of each frame, in seconds; in a path without times, at the
clock of the video. The scene is rendered as all results are: by 3DGUT, with gsplat on a GPU.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry


def main() -> int:
    """Parse the arguments, read scene and path, render, say what was written."""
    parser = manual_parser(__doc__)
    add = parser.add_argument
    add("scene", type=Path, metavar="SCENE")
    add("path", type=Path, metavar="PATH")
    add("video", type=Path, metavar="OUT")
    add("--width", type=int, help="even; the lens scales with it (default: the path's)")
    add("--height", type=int, help="even; of another shape, the view is cut on two sides")
    add("--fps", type=float, help="frames a second (default: the path's)")
    add("--depth", type=Path, metavar="OUT", help="a second mp4: the depth, near red, far blue")
    add("--interpolate", type=int, metavar="N", help="frames from one key frame to the next")
    add("--loop", action="store_true", help="a moving scene begins again after its end")
    add("--background", type=float, nargs=3, default=(1, 1, 1), metavar=("R", "G", "B"))
    add("--rasterizer", choices=("auto", "cuda", "torch"), default="auto", help="as of sample.py")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--scene_fps", type=float, default=24.0, help="of a SCENE without times.json (%(default)s)")
    arguments = parser.parse_args()

    from src.io.scene import read_scene
    from src.reconstruct.camera_path.film import FilmConfig, render_path
    from src.reconstruct.camera_path.path import PathConfig, check_scene, read_path

    film = FilmConfig(
        video=arguments.video,
        depth=arguments.depth,
        background=tuple(arguments.background),
        loop=arguments.loop,
        rasterizer=arguments.rasterizer,
        device=arguments.device,
    )
    chosen = {name: getattr(arguments, name) for name in ("width", "height", "fps", "interpolate")}
    path = read_path(arguments.path, PathConfig(**chosen))
    scene = read_scene(arguments.scene, arguments.scene_fps)
    check_scene(arguments.path, path, scene.moments[0])
    render_path(scene, path, film)
    size = f"{path.cameras.width}x{path.cameras.height}"
    written = " and ".join(str(file) for file in (film.video, film.depth) if file)
    print(f"{written}: {len(path.seconds)} frames of {size} at {path.fps:g} fps")
    return 0


if __name__ == "__main__":
    run_entry(main, "render.py")
