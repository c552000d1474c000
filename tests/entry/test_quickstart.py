"""The quickstart as a newcomer runs it, most of it with tiny random weights."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_generator import write_picture, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, SETTINGS, WIDTH, tiny_decoder
from tiny_video import frames
from warm.python import warm_python

from src.checkpoints import TOKENIZER
from src.io.image import read_image
from src.io.ply import read_ply
from src.io.video.video import video_header, write_video
from src.models.recon.decoder import save_decoder

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "quickstart.sh"
SIX = range(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder far from the repository with weights, settings, a picture and a video."""
    root = tmp_path_factory.mktemp("a user's folder")
    write_tiny_weights(root / "weights")
    for kind in ("static", "dynamic"):
        save_decoder(tiny_decoder(kind == "dynamic"), root / f"weights/decoder_{kind}")
        text = SETTINGS.format(
            folder=root,
            kind=f"lyra_{kind}",
            height=HEIGHT,
            width=WIDTH,
            frames=FRAMES,
            views=FRAMES + 3,
            dynamic=str(kind == "dynamic").lower(),
        )
        (root / f"{kind}.yaml").write_text(text)
    # Portrait: the clips are landscape.
    write_picture(root / "photo #1.PNG", height=90, width=50)
    write_video(root / "clip.mp4", frames(), 12)
    return root


def quickstart(
    cwd: Path, *arguments: str, python: str | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(SCRIPT), "--python", python or warm_python(), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def tiny(folder: Path, kind: str, output: str, *arguments: str, python: str | None = None) -> Path:
    """The folder of the results of a run that must succeed."""
    model = f'config_path=[configs/training/default.yaml,"{folder}/{kind}.yaml"]'
    common = ("--checkpoint_dir", "weights", "--output", output, model)
    done = quickstart(folder, *arguments, *common, python=python)
    assert done.returncode == 0, done.stderr
    (root,) = (folder / output).iterdir()
    named = [word for line in done.stdout.splitlines() for word in line.split() if "/" in word]
    assert any(word.endswith("sheet.png") for word in named), done.stdout
    assert "superspl.at" in done.stdout
    pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
    page = (root / "page.html").relative_to(folder)
    assert done.stdout.splitlines()[-1] == f"open {page} in a browser"
    return root


@pytest.mark.slow
def test_a_picture_becomes_a_scene_twice_the_same(folder: Path) -> None:
    """A step that fails outside of the repository, a missing result, noise without a seed."""
    plys, pages = [], []
    for output, python in (("one", sys.executable), ("two", None)):
        root = tiny(folder, "static", output, "photo #1.PNG", python=python)
        tree = root / "scene/static_view_indices_fixed_5_0_1_2_3_4/lyra_static_demo"
        for position in SIX:
            header = video_header(tree / f"raw/rgb_0_view_idx_{position}.mp4")
            assert (header.num_frames, header.height, header.width) == (FRAMES, HEIGHT, WIDTH)
        # The input, then six rows of clip, rendering and depth, three frames each.
        sheet = read_image(tree / "scenes/0/sheet.png")
        assert sheet.shape == (7 * (HEIGHT + 4) - 4, 9 * (WIDTH + 4) - 4, 3)
        assert sheet[:HEIGHT, :WIDTH].float().std() > 20
        assert (sheet[:HEIGHT, WIDTH + 4 :] == 255).all()
        path = tree / "gaussians_orig/gaussians_0.ply"
        assert len(read_ply(path)) > 0
        plys.append(path.read_bytes())
        pages.append((root / "page.html").read_bytes())
    assert plys[0] == plys[1] and pages[0] == pages[1]
    # Again, the page is that of the scene as it is.
    (root / "page.html").write_text("an older page")
    tiny(folder, "static", "two", "photo #1.PNG")
    assert (root / "page.html").read_bytes() == pages[0]


@pytest.mark.slow
def test_a_video_becomes_a_scene_at_several_times(folder: Path) -> None:
    """A video that takes the way of pictures, or one time only."""
    root = tiny(folder, "dynamic", "film", "clip.mp4", "target_index_manual=[0,4,8]")
    tree = root / "scene/static_view_indices_fixed_5_0_1_2_3_4/lyra_dynamic_demo"
    scenes = [(tree / f"{time}/gaussians_orig/gaussians_0.ply").read_bytes() for time in (0, 4, 8)]
    assert len(set(scenes)) == 3
    sheet = read_image(tree / "8/scenes/0/sheet.png").float()
    assert re.findall(r'"time":([0-9.]+),"count"', (root / "page.html").read_text()) == [
        *("0.0", str(4 / 24), str(8 / 24))
    ]
    starts = [place * (WIDTH + 4) for place in range(3)]
    shown = [sheet[:HEIGHT, start : start + WIDTH].mean() for start in starts]
    # The input's first, middle and last frame: it gets brighter.
    assert shown[0] + 20 < shown[1] < shown[2] - 20


def test_mistakes_show_at_once(tmp_path: Path) -> None:
    """Minutes of set-up before a mistyped name is noticed, or a message without the name."""
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    write_picture(tmp_path / "photo.png")
    for arguments, words in (
        (("nowhere.png",), "nowhere.png"),
        (("notes.txt",), "notes.txt: got unknown type"),
        (("empty",), "neither pictures"),
        (("photo.png", "--seed", "one"), "--seed: got one"),
        (("photo.png", "photo.png"), "a second input"),
        (("photo.png", "--sead", "1"), "--sead"),
        (("photo.png", "--output"), "--output: expected one"),
        (("photo.png", "--checkpoint_dir", "empty"), "no weights"),
    ):
        done = quickstart(tmp_path, *arguments)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_a_video_without_its_decoder_is_refused_at_once(tmp_path: Path) -> None:
    """Six clips made, then no decoder; or pictures refused because of a video beside them."""
    write_tiny_weights(tmp_path / "weights")
    save_decoder(tiny_decoder(), tmp_path / "weights/decoder_static")
    (tmp_path / "folder").mkdir()
    write_video(tmp_path / "folder/clip.mp4", frames(), 12)
    common = ("--checkpoint_dir", "weights")
    for given in ("folder/clip.mp4", "folder"):
        done = quickstart(tmp_path, given, *common)
        assert done.returncode == 2 and not done.stdout
        assert "decoder_dynamic" in done.stderr and "clip.mp4" in done.stderr
    # Beside pictures videos are left out: it fails later, at what is no folder.
    write_picture(tmp_path / "folder/photo.png")
    done = quickstart(tmp_path, "folder", *common, "--output", "folder/photo.png")
    assert "leaving out clip.mp4" in done.stderr and "photo.png: got cannot be" in done.stderr


@pytest.mark.slow
def test_a_broken_picture_stops_no_other(folder: Path) -> None:
    """No scene of the good picture of a folder, or a bad one without its own reason."""
    source = folder / "album"
    write_picture(source / "good.png", seed=1)
    (source / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (source / "empty.png").touch()
    (source / "link.png").symlink_to("nowhere.png")
    (source / "notes.txt").write_text("no picture")
    (source / "x.heic").write_text("no picture")
    (source / "more").mkdir()
    model = f'config_path=[configs/training/default.yaml,"{folder}/static.yaml"]'
    for _ in range(2):
        done = quickstart(folder, "album", "--checkpoint_dir", "weights", "--output", "out", model)
        assert done.returncode == 1, done.stderr
        *_, count, empty, half, link = done.stderr.splitlines()
        assert count.endswith("3 of 4 inputs became no scene:")
        assert "album/half.jpg: got unread" in half and half.startswith("  half: ")
        assert "empty.png: got an empty file" in empty and "link.png: got a link to no" in link
        for name in ("notes.txt", "x.heic", "more"):
            assert f"left out: album/{name}:" in done.stderr
        (ply,) = (folder / "out").glob("album_*/scene/*/*/gaussians_orig/gaussians_0.ply")
        assert str(ply.relative_to(folder)) in done.stdout
        # Pictures of a folder have a page each.
        assert re.search(r"^open out/album_\d+/page_good.html in a browser$", done.stdout, re.M)
        # What a run leaves that ends between two clips of a scene costs the whole ones nothing.
        for path in sorted((folder / "out").glob("album_*/clips/0/*/good.*")):
            shutil.copy(path, path.with_stem("half"))
        shutil.rmtree(ply.parents[3])


@pytest.mark.slow
def test_names_that_mean_something_elsewhere(folder: Path) -> None:
    """A path that a shell, YAML or a search for settings understands as something else."""
    home = folder / "run=1, caf\u00e9 #2 ${x}"
    picture = write_picture(home / "a=b #1.bmp", seed=2)
    done = quickstart(
        home,
        picture.name,
        *("--output", "o #2=${y}", "--checkpoint_dir", str(folder / "weights")),
        f'config_path=[configs/training/default.yaml,"{folder}/static.yaml"]',
    )
    assert done.returncode == 0, done.stderr
    (ply,) = (home / "o #2=${y}").rglob("gaussians_0.ply")
    assert f"  3D scene     {ply.relative_to(home)}" in done.stdout.splitlines()
    # The path may be copied into a shell.
    assert "/page.html' in a browser" in done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_that_runs(folder: Path, number: signal.Signals) -> None:
    """A generator that goes on without the quickstart, or a traceback for each process."""
    output = folder / f"stopped_{number.name}"
    command = ["bash", str(SCRIPT), "--python", sys.executable, "photo #1.PNG"]
    command += ["--checkpoint_dir", "weights", "--output", str(output)]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("+"):
        assert process.poll() is None
    # The command takes seconds to import what it needs.
    time.sleep(1)
    (child,) = children(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].startswith(f"quickstart: stopped ({number.name})")
    assert "Traceback" not in said
    assert not Path(f"/proc/{child}").exists()


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.fixture(scope="module")
def published(folder: Path) -> Path:
    """The tiny weights where the published ones lie."""
    root = folder / "checkpoints"
    (root / "Lyra").mkdir(parents=True)
    shutil.copytree(folder / "weights/generator", root / "Gen3C-Cosmos-7B")
    shutil.copytree(folder / "weights/tokenizer", root / TOKENIZER)
    for kind in ("static", "dynamic"):
        state = tiny_decoder(kind == "dynamic").state_dict()
        torch.save({"module": state}, root / f"Lyra/lyra_{kind}.pt")
    return root


def full(folder: Path, *arguments: str, kind: str = "static") -> subprocess.CompletedProcess[str]:
    model = f'config_path=[configs/training/default.yaml,"{folder}/{kind}.yaml"]'
    cpu = ("--device", "cpu", "--depth", "nano")
    return quickstart(folder, "--full", *cpu, *arguments, model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_full_way_from_the_published_layout(folder: Path, published: Path, kind: str) -> None:
    """Weights that are not found where the downloads put them; clips that are made again."""
    source = "photo #1.PNG" if kind == "static" else "clip.mp4"
    given = (source, "--checkpoint_dir", str(published), "--output", f"full {kind}")
    times = ["target_index_manual=[0,8]"] if kind == "dynamic" else []
    done = full(folder, *given, *times, kind=kind)
    assert done.returncode == 0, done.stderr
    assert f"configs/demo/lyra_{kind}.yaml" in done.stdout and "sheet.png" in done.stdout
    plys = sorted((folder / f"full {kind}").rglob("gaussians_0.ply"))
    assert len(plys) == 1 + len(times) and all(len(read_ply(path)) for path in plys)
    again = full(folder, *given, *times, kind=kind)
    assert again.returncode == 0 and "0 of 6 clips of this process are missing" in again.stderr


def test_missing_weights_are_named_with_their_sizes(folder: Path, tmp_path: Path) -> None:
    """Minutes of work, or a download that nobody wanted, before a missing part is noticed."""
    none = str(tmp_path / "none")
    # With T5 this machine's memory would have a say.
    given = ("photo #1.PNG", "--checkpoint_dir", none, "--disable_prompt_encoder")
    done = full(folder, *given)
    assert done.returncode == 1 and "--yes" in done.stderr, done.stderr
    for line in ("gen3c, 14.5 GB", "tokenizer, 0.3 GB", "lyra, 0.3 GB"):
        assert f"missing   {line}" in done.stdout
    assert "download_checkpoints.py --checkpoint_dir" in done.stdout
    assert "--what gen3c tokenizer lyra\n" in done.stdout
    assert "moge" not in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_full_size_without_a_gpu_stops_at_once(folder: Path) -> None:
    """Hours on a CPU that nobody asked for."""
    done = quickstart(folder, "photo #1.PNG", "--full", "--yes")
    assert done.returncode == 2 and "GPU: got none" in done.stderr


@pytest.mark.slow
def test_the_shipped_weights_and_a_demo_picture(tmp_path: Path) -> None:
    """Weights that the commands cannot read, or the wrong sizes in the configurations."""
    shutil.copy(REPOSITORY / "assets/demo/garden.jpg", tmp_path)
    done = quickstart(tmp_path, "garden.jpg", "target_index_subsample=8", python=sys.executable)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "outputs").rglob("gaussians_0.ply")
    assert len(read_ply(path)) > 1000


@pytest.mark.slow
def test_the_shipped_weights_and_the_demo_video(tmp_path: Path) -> None:
    """The same for the decoder of moving scenes."""
    shutil.copy(REPOSITORY / "assets/demo/bouncing_ball.mp4", tmp_path)
    done = quickstart(tmp_path, "bouncing_ball.mp4", "target_index_subsample=8")
    assert done.returncode == 0, done.stderr
    paths = sorted((tmp_path / "outputs").rglob("gaussians_0.ply"))
    assert len(paths) == 3 and all(len(read_ply(path)) > 1000 for path in paths)
