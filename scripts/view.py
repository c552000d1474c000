"""Look at a scene in the browser: `python scripts/view.py SCENE [--export page.html]`.

SCENE is a PLY, a folder of PLYs (with times.json, or in the order of their numbers), or an output
folder of sample.py with one scene; the cameras of its clips are shown, too. The page is served on
this machine until Ctrl-C. --export writes it as one file instead, which opens without a network.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Parse the arguments, read the scene, serve or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("scene", type=Path, metavar="SCENE")
    add("--export", type=Path, metavar="FILE", help="write one HTML file, and end")
    add("--clips", type=Path, help="folder of the clips (default: `clips` beside the results)")
    add("--title", help="of the page (default: the name of the scene's input)")
    add("--host", default="127.0.0.1", help="0.0.0.0 serves other machines, too (%(default)s)")
    add("--port", type=int, default=8000, help="or the next free one (%(default)s)")
    add("--fps", type=float, default=24.0, help="of a folder without times.json (%(default)s)")
    add("--no_browser", action="store_true", help="do not open the browser")
    arguments = parser.parse_args()

    import webbrowser

    from src.io.scene import read_scene
    from src.viewer.page import served_files, write_page
    from src.viewer.serve import make_server

    scene = read_scene(arguments.scene, arguments.fps)
    # Results of sample.py know the name of their input.
    name = None if scene.results else arguments.scene.resolve().stem
    title = arguments.title or name
    if arguments.export is not None:
        size = write_page(arguments.export, scene, title, arguments.clips)
        print(f"{arguments.export}: {size / 1e6:.2f} MB, {len(scene.moments)} moments")
        return 0
    files = served_files(scene, title, arguments.clips)
    with make_server(files, arguments.host, arguments.port) as server:
        url = f"http://{arguments.host}:{server.server_port}/"
        if server.server_port != arguments.port:
            print(f"port {arguments.port} is in use: taking {server.server_port}", flush=True)
        print(f"{arguments.scene}: {url} (Ctrl-C ends it)", flush=True)
        if not arguments.no_browser:
            webbrowser.open(url)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    from src.entry import run_entry

    run_entry(main, "view.py")
