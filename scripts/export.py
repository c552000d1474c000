"""Write a scene in another program's format: `python scripts/export.py scene IN OUT [options]`.

IN is a PLY, a folder of PLYs (with times.json, or in the order of their numbers), or an output
folder of sample.py. OUT's suffix chooses the format, or --format does:

    ply compressed_ply splat spz sog   y points down, as in the original PLY
    glb 4dgs                           y points up; glb knows no other axis
    usdc usda usdz                     z points up, metres; moments become time samples
    colmap                             a folder: pictures, cameras, Gaussians as points; y down
    ply_padded                         PLY with zero normals and f_rest_*, for old viewers

A moving scene becomes one file in usd and 4dgs, else a folder of frame_0000... and times.json.
--solid makes fewer, opaque Gaussians for viewers that blend into 8 bits (docs/solid.md).
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.io.scene import SplatScene

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Parse the arguments, read, export, say what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("scene", help="export a scene").add_argument
    add("source", type=Path, metavar="IN")
    add("target", type=Path, metavar="OUT")
    add("--format", help="default: by the suffix of OUT")
    add("--min_opacity", type=float, default=0.0, help="drop fainter Gaussians (%(default)s)")
    add("--crop_box", type=float, nargs=6, metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"))
    add("--max_gaussians", type=int, help="keep those that contribute most to a picture")
    add("--up", help="axis that points up: y, z or, with `--up=-y`, -y; default: as above")
    add("--median_depth", type=float, help="scale the scene until its median depth is so many m")
    add("--fps", type=float, default=24.0, help="of a folder without times.json (%(default)s)")
    add("--solid", action="store_true", help="fewer, opaque Gaussians, fitted to renderings")
    add("--solid_steps", type=int, default=85, help="steps of --solid's fit (%(default)s)")
    arguments = parser.parse_args()

    from src.export.editing import EditConfig
    from src.export.formats import export_scene
    from src.io.scene import read_scene

    edit = EditConfig(
        min_opacity=arguments.min_opacity,
        crop_box=arguments.crop_box and tuple(arguments.crop_box),
        max_gaussians=arguments.max_gaussians,
        up=arguments.up,
        median_depth=arguments.median_depth,
    )
    scene = read_scene(arguments.source, arguments.fps)
    if arguments.solid:
        scene = make_solid(scene, arguments.format, arguments.solid_steps)
    written = export_scene(scene, arguments.target, arguments.format, edit)
    files = [path for path in written.rglob("*") if path.is_file()] or [written]
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{written}: {size:.2f} MB; moments: {len(scene.moments)}")
    return 0


def make_solid(scene: "SplatScene", form: str | None, steps: int) -> "SplatScene":
    """Make each moment solid and say what became of it."""
    from src.export.solid.scene import SolidConfig, solid_scene
    from src.runtime import InputError

    if form == "colmap":
        raise InputError("--solid", "the format colmap", "a format that holds Gaussians")
    scene, reports = solid_scene(scene, SolidConfig(steps=steps))
    for time, report in zip(scene.times, reports, strict=True):
        print(f"solid at {time:.3f} s: {report}")
    return scene


if __name__ == "__main__":
    from src.entry import run_entry

    run_entry(main, "export.py")
