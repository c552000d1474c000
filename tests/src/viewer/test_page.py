"""Tests of the page that shows a scene: its files, its description, its server."""

import base64
import gzip
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from tiny_page import FRAMES, PATHS, write_tiny_page_scene
from warm.python import warm_python

from src.gaussians import Gaussians
from src.io.ply import write_ply
from src.io.scene import SplatScene, read_scene
from src.io.video.video import write_video
from src.runtime import InputError

pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
from src.viewer.description import describe
from src.viewer.page import BUNDLE, served_files, write_page
from src.viewer.serve import make_server

REPOSITORY = Path(__file__).resolve().parents[3]


def moment(shift: float, count: int = 50) -> Gaussians:
    """Gaussians before the camera."""
    packed = torch.rand(count, 14, generator=torch.Generator().manual_seed(2))
    packed[:, 2] += 1 + shift
    quats = torch.nn.functional.normalize(packed[:, 7:11], dim=1)
    return Gaussians.from_packed(torch.cat([packed[:, :7], quats, packed[:, 11:]], dim=1))


@pytest.fixture
def scene() -> SplatScene:
    """Three moments."""
    return SplatScene(tuple(moment(0.1 * k) for k in range(3)), (0.0, 0.5, 1.0))


def described(text: str) -> dict:
    """The description in a page."""
    found = re.search(r'<script type="application/json" id="scene">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def test_one_file_holds_every_moment_and_the_code(scene: SplatScene, tmp_path: Path) -> None:
    """A page that needs the network, or shows the first moment alone."""
    size = write_page(tmp_path / "page.html", scene, "a <scene> & more")
    text = (tmp_path / "page.html").read_text()
    assert size == len(text.encode()) and "<title>a &lt;scene&gt; &amp; more</title>" in text
    page = described(text)
    assert [part["time"] for part in page["moments"]] == [0.0, 0.5, 1.0]
    for part in page["moments"]:
        assert part["count"] == 50
        assert gzip.decompress(base64.b64decode(part["data"]))[:4] == b"NGSP"
    code = re.search(r'id="code">(.*?)</script>', text, re.S)
    assert code and base64.b64decode(code[1]) == BUNDLE.read_bytes()
    assert not re.search(r"(src|href)=[\"']?https?:", text)


def test_the_server_gives_the_page_and_nothing_else(scene: SplatScene) -> None:
    """A server that reads any file of the machine."""
    files = served_files(scene, "scene")
    with make_server(files, "127.0.0.1", 8700) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{place}/?again") as answer:
            page = described(answer.read().decode())
        for part in page["moments"]:
            with urllib.request.urlopen(f"{place}/{part['url']}") as answer:
                assert answer.read() == files[f"/{part['url']}"]
        for path in ("/../etc/passwd", "/etc/passwd", "/moment_0009.spz"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{place}{path}")
        server.shutdown()


def test_a_port_in_use_is_passed_over(scene: SplatScene) -> None:
    """Two scenes can't be looked at together."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with make_server({"/": b""}, "127.0.0.1", port) as server:
            assert port < server.server_port < port + 20


def test_a_foreign_address_is_refused() -> None:
    """A traceback of the socket module."""
    with pytest.raises(InputError, match="--host 203.0.113.7"):
        make_server({"/": b""}, "203.0.113.7", 8700)


def test_a_scene_is_found_or_refused_with_a_reason(tmp_path: Path) -> None:
    """An empty page, or the wrong one of several scenes."""
    with pytest.raises(InputError, match="no such file or folder"):
        read_scene(tmp_path / "none.ply")
    with pytest.raises(InputError, match="no PLY in it"):
        read_scene(tmp_path)
    for index in range(2):
        write_ply(tmp_path / f"gaussians_orig/gaussians_{index}.ply", moment(0))
    with pytest.raises(InputError, match="2 scenes"):
        read_scene(tmp_path)
    (tmp_path / "gaussians_orig/gaussians_1.ply").unlink()
    assert len(read_scene(tmp_path).moments) == 1


def test_moments_of_a_4d_scene_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    """Frame 8 before frame 0, or 16 before 8, as names sort."""
    for frame in (16, 0, 8):
        write_ply(tmp_path / f"{frame}/gaussians_orig/gaussians_0.ply", moment(frame))
    found = read_scene(tmp_path)
    assert found.times == (0.0, 8 / 24, 16 / 24)
    assert [float(m.means[:, 2].mean()) // 8 for m in found.moments] == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"times": [0, 1, 2]}', "3 times for 2 PLYs"),
        ('{"times": [1, 1]}', "seconds that increase"),
        ('{"times": "now"}', "a list of seconds"),
    ],
)
def test_times_that_do_not_fit_are_refused(content: str, reason: str, tmp_path: Path) -> None:
    """Moments that are shown at other times than they were made for."""
    for number in range(2):
        write_ply(tmp_path / f"frame_{number:04d}.ply", moment(0))
    (tmp_path / "times.json").write_text(content)
    with pytest.raises(InputError, match=reason):
        read_scene(tmp_path)


def copy_of_sources(folder: Path) -> Path:
    """The viewer's sources in `folder`, with its packages; skips where npm can't install them."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on the path")
    source = REPOSITORY / "viewer"
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    shutil.copytree(source / "src", folder / "src")
    try:
        subprocess.run(["npm", "ci"], cwd=folder, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"`npm ci` failed, perhaps without a network: {error}")
    return folder


@pytest.mark.slow
def test_the_bundle_is_that_of_its_sources(tmp_path: Path) -> None:
    """A page whose code is older than viewer/src, or a build that differs by machine."""
    folder = copy_of_sources(tmp_path)
    subprocess.run(["npm", "run", "build"], cwd=folder, check=True, capture_output=True)
    code = (folder / "build/viewer.js").read_bytes()
    assert gzip.decompress(BUNDLE.read_bytes()) == code
    # Compressed without a time, so that equal code gives equal files.
    assert BUNDLE.read_bytes()[4:8] == bytes(4)


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`scripts/view.py`, as a user calls it."""
    line = [warm_python(), str(REPOSITORY / "scripts/view.py"), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True)


def test_what_is_no_scene_is_refused_in_one_line(tmp_path: Path) -> None:
    """A traceback, or a page that stays white."""
    (tmp_path / "empty.ply").write_bytes(b"")
    header = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n"
    (tmp_path / "points.ply").write_text(header)
    write_ply(tmp_path / "nan.ply", moment(0))
    damaged = bytearray((tmp_path / "nan.ply").read_bytes())
    damaged[-56:-52] = b"\x00\x00\xc0\x7f"
    (tmp_path / "nan.ply").write_bytes(damaged)
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("empty.ply", "no PLY header"),
        ("points.ply", "points.ply"),
        ("nan.ply", "finite"),
        ("folder", "no PLY in it"),
        ("none", "no such file or folder"),
    ):
        done = call(tmp_path / name, "--export", tmp_path / "page.html")
        assert done.returncode == 1 and not (tmp_path / "page.html").exists()
        assert len(done.stderr.splitlines()) == 1 and reason in done.stderr, done.stderr


def test_the_next_free_port_is_taken_and_told(tmp_path: Path) -> None:
    """A user who looks at another scene at the port that was asked for."""
    write_ply(tmp_path / "scene.ply", moment(0))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = [sys.executable, str(REPOSITORY / "scripts/view.py"), str(tmp_path / "scene.ply")]
        line += ["--port", str(port), "--no_browser"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as served:
            assert served.stdout
            said = [served.stdout.readline() for _ in range(2)]
            served.send_signal(signal.SIGINT)
            served.communicate(timeout=60)
    found = re.search(rf"port {port} is in use: taking (\d+)", said[0])
    assert found and int(found[1]) > port and f"http://127.0.0.1:{found[1]}/" in said[1]


def test_clips_that_do_not_fit_give_way_to_renderings(tmp_path: Path) -> None:
    """A scene that can't be looked at because its clips have changed."""
    scene = write_tiny_page_scene(tmp_path, moving=False)
    assert [t["name"] for t in describe(read_scene(scene)).values["trajectories"]] == list(PATHS)
    short = torch.zeros(3, 90, 160, 3, dtype=torch.uint8)
    write_video(tmp_path / "clips/up/rgb/tiny.mp4", short, 24)
    found = describe(read_scene(scene))
    assert found.values["trajectories"] == [] and len(found.values["frames"]) == 2 * FRAMES
    with pytest.raises(InputError, match=r"clips of 12 frames.*\(18\)"):
        describe(read_scene(scene), clips=tmp_path / "clips")
    for number in range(2):
        video = torch.zeros(FRAMES, 90, 160, 3, dtype=torch.uint8)
        write_video(scene / f"lyra_demo/raw/rgb_0_view_idx_{number}.mp4", video, 24)
    found = describe(read_scene(scene))
    assert [t["name"] for t in found.values["trajectories"]] == ["0", "1"]
    assert found.pictures == {}
    (tmp_path / "clips/up/rgb/tiny.mp4").unlink()
    with pytest.raises(InputError, match="no up/rgb/tiny.mp4"):
        describe(read_scene(scene), clips=tmp_path / "clips")
