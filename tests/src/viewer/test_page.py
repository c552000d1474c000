"""Tests of the page that shows a scene: its files, its description, its server."""

import base64
import gzip
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

from src.gaussians import Gaussians
from src.io.ply.ply import write_ply
from src.io.ply.scene import SplatScene, read_scene
from src.runtime import InputError

pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
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


@pytest.mark.slow
def test_the_bundle_is_that_of_its_sources() -> None:
    """A page whose code is older than viewer/src."""
    folder = REPOSITORY / "viewer"
    if shutil.which("npx") is None or not (folder / "node_modules").is_dir():
        pytest.skip("`npm ci` was not run in viewer/")
    subprocess.run(["npm", "run", "build"], cwd=folder, check=True, capture_output=True)
    assert gzip.decompress(BUNDLE.read_bytes()) == (folder / "build/viewer.js").read_bytes()
