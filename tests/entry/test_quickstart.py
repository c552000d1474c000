"""The quickstart as a newcomer runs it, most of it with tiny random weights."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_generator import write_picture, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, SETTINGS, WIDTH, tiny_decoder
from tiny_video import frames

from src.io.image import read_image
from src.io.ply import read_ply
from src.io.video import video_header, write_video
from src.models.recon.weights import save_decoder

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


def quickstart(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(SCRIPT), "--python", sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def tiny(folder: Path, kind: str, output: str, *arguments: str) -> Path:
    """The folder of the results of a run that must succeed."""
    model = f'config_path=[configs/training/default.yaml,"{folder}/{kind}.yaml"]'
    common = ("--checkpoint_dir", "weights", "--output", output, model)
    done = quickstart(folder, *arguments, *common)
    assert done.returncode == 0, done.stderr
    (root,) = (folder / output).iterdir()
    named = [word for line in done.stdout.splitlines() for word in line.split() if "/" in word]
    assert any(word.endswith("sheet.png") for word in named), done.stdout
    assert "superspl.at" in done.stdout
    return root


@pytest.mark.slow
def test_a_picture_becomes_a_scene_twice_the_same(folder: Path) -> None:
    """A step that fails outside of the repository, a missing result, noise without a seed."""
    plys = []
    for output in ("one", "two"):
        root = tiny(folder, "static", output, "photo #1.PNG")
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
    assert plys[0] == plys[1]


@pytest.mark.slow
def test_a_video_becomes_a_scene_at_several_times(folder: Path) -> None:
    """A video that takes the way of pictures, or one time only."""
    root = tiny(folder, "dynamic", "film", "clip.mp4", "target_index_manual=[0,4,8]")
    tree = root / "scene/static_view_indices_fixed_5_0_1_2_3_4/lyra_dynamic_demo"
    scenes = [(tree / f"{time}/gaussians_orig/gaussians_0.ply").read_bytes() for time in (0, 4, 8)]
    assert len(set(scenes)) == 3
    sheet = read_image(tree / "8/scenes/0/sheet.png").float()
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
        (("notes.txt",), "notes.txt: unknown type"),
        (("empty",), "neither pictures"),
        (("photo.png", "--seed", "one"), "--seed: got one"),
        (("photo.png", "photo.png"), "a second input"),
        (("photo.png", "--sead", "1"), "--sead"),
        (("photo.png", "--output"), "--output: got nothing"),
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
    assert "leaving out clip.mp4" in done.stderr and "photo.png: cannot be made" in done.stderr


@pytest.mark.slow
def test_the_shipped_weights_and_a_demo_picture(tmp_path: Path) -> None:
    """Weights that the commands cannot read, or the wrong sizes in the configurations."""
    shutil.copy(REPOSITORY / "assets/demo/garden.jpg", tmp_path)
    done = quickstart(tmp_path, "garden.jpg", "target_index_subsample=8")
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
