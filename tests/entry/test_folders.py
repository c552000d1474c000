"""Folders of many inputs, some of them broken, and two runs at once on the same folder."""

import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
import torch
from tiny_generator import MULTI, write_picture, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, SETTINGS, WIDTH, files_of, tiny_decoder, write_tiny_input
from warm.python import warm_python

from src.io.clip.clip import ClipPaths, is_finished, list_keys
from src.io.clip.latents import read_latents
from src.models.recon.decoder import save_decoder

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATE = REPOSITORY / "cosmos_predict1/diffusion/inference/gen3c_single_image_sdg.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
SECONDS = 300
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generator, tokenizer, depth network and decoder, with a model configuration beside them."""
    folder = write_tiny_weights(tmp_path_factory.mktemp("weights"))
    save_decoder(tiny_decoder(), folder / "decoder_static")
    sizes = {"height": HEIGHT, "width": WIDTH, "frames": FRAMES, "views": FRAMES + 3}
    text = SETTINGS.format(folder=folder, kind="lyra_static", dynamic="false", **sizes)
    (folder / "tiny.yaml").write_text(text)
    return folder


def generate(weights: Path, pictures: Path, clips: Path, *flags: str) -> list[str]:
    given = ("--input_image_path", str(pictures), "--video_save_folder", str(clips))
    return [warm_python(), str(GENERATE), "--checkpoint_dir", str(weights), *given, *flags]


def decode(weights: Path, clips: Path, out: Path, *settings: str) -> list[str]:
    command = [warm_python(), str(REPOSITORY / "sample.py")]
    command += ["--config", "configs/demo/lyra_static.yaml", f"dataset_root={clips}"]
    command += [f"config_path=[configs/training/default.yaml,{weights}/tiny.yaml]"]
    command += [f"ckpt_path={weights}/decoder_static", f"out_dir_inference={out}", *settings]
    return command


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )


def run(command: list[str]) -> tuple[int, list[str]]:
    """Exit code and standard error."""
    process = start(command)
    _, said = process.communicate(timeout=SECONDS)
    assert "Traceback" not in said
    return process.returncode, said.splitlines()


def write_broken(folder: Path) -> dict[str, str]:
    """Pictures that are none, and what is said of each; a whole one in `folder` is cut in two."""
    whole = write_picture(folder / "whole.jpg").read_bytes()
    (folder / "broken_cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "broken_empty.png").touch()
    (folder / "broken_text.jpg").write_text("<html>404</html>")
    (folder / "broken_pointer.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    with zipfile.ZipFile(folder / "broken_archive.png", "w") as archive:
        archive.writestr("a.txt", "hello")
    (folder / "broken_folder.jpg").mkdir()
    (folder / "broken_link.jpg").symlink_to("nowhere.jpg")
    return {
        "broken_cut.jpg": "unreadable",
        "broken_empty.png": "an empty file",
        "broken_text.jpg": "cannot identify",
        "broken_pointer.png": "git lfs pull",
        "broken_archive.png": "cannot identify",
        "broken_folder.jpg": "a folder",
        "broken_link.jpg": "a link to nowhere",
    }


def test_a_folder_with_broken_pictures_gives_all_other_scenes(
    weights: Path, tmp_path: Path
) -> None:
    """One broken picture that costs the others their scenes, or that nobody hears of."""
    pictures, clips = tmp_path / "pictures", tmp_path / "clips"
    for number in range(4):
        write_picture(pictures / f"good_{number}.png", seed=number)
    broken = write_broken(pictures)
    # One trajectory, in the folder where readers look for it.
    for _ in range(2):
        command = generate(weights, pictures, clips / "0", "--num_steps", "1")
        code, said = run(command)
        assert code == 1
        listed = said[-len(broken) :]
        assert f"got {len(broken)} scenes without all clips" in said[-len(broken) - 1]
        for name, words in broken.items():
            (line,) = [line for line in listed if f"/{name}: got" in line]
            assert words in line
    good = [f"good_{number}" for number in range(4)] + ["whole"]
    assert list_keys(clips) == good
    out = tmp_path / "out"
    code, said = run(decode(weights, clips, out, "static_view_indices_fixed=['0']"))
    assert code == 0, said
    assert len(list(out.rglob("gaussians_orig/*.ply"))) == len(good)


def test_two_runs_on_one_folder_both_succeed(weights: Path, tmp_path: Path) -> None:
    """A run that fails, or waits for ever, because another one makes what it wants too."""
    pictures, clips, alone = (tmp_path / name for name in ("pictures", "clips", "alone"))
    for number in range(2):
        write_picture(pictures / f"photo_{number}.png", seed=number)
    flags = ("--multi_trajectory", "--num_steps", "12")
    pair = [start(generate(weights, pictures, clips, *flags))]
    # The second one comes while the first one writes.
    wait_for(clips / "0/meta/photo_0.json", pair[0])
    pair.append(start(generate(weights, pictures, clips, *flags)))
    finish(pair)
    for number in range(2):
        found = [ClipPaths(clips, name, f"photo_{number}") for name in MULTI]
        assert all(map(is_finished, found))
    code, said = run(generate(weights, pictures, alone, *flags))
    assert code == 0, said
    assert files_of(clips) == files_of(alone)
    for path in sorted(alone.rglob("*.pkl")):
        # The files have a time in them.
        pair_of = (read_latents(path), read_latents(clips / path.relative_to(alone)))
        torch.testing.assert_close(*pair_of, rtol=0, atol=0)


def test_two_decodings_of_one_folder_both_succeed(tmp_path: Path) -> None:
    """The same of the second stage: scenes that one run removes while the other one counts them."""
    inputs = write_tiny_input(tmp_path / "input", scenes=6)
    command = [warm_python(), str(REPOSITORY / "sample.py"), *inputs.arguments()]
    # They take the same time to load, so that both want the first scene at once.
    finish([start(command), start(command)])
    alone = tmp_path / "alone"
    code, said = run([*command, f"out_dir_inference={alone}"])
    assert code == 0, said
    expected = inputs.results(alone)
    assert files_of(inputs.tree()) == files_of(expected)
    for path in sorted(expected.rglob("*.ply")):
        assert path.read_bytes() == (inputs.tree() / path.relative_to(expected)).read_bytes()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    limit = time.monotonic() + SECONDS
    while not path.is_file():
        assert process.poll() is None and time.monotonic() < limit, f"ended without {path}"
        time.sleep(0.02)


def finish(processes: list[subprocess.Popen]) -> None:
    """Wait for runs that must succeed."""
    # Their words are few enough for a pipe that nobody reads yet.
    for process in processes:
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0 and "Traceback" not in said, said
