"""README's commands, word for word, in a fresh copy of the repository, on stand-ins of all files.

The hub on this machine has every published repository (see published/standins.py). `train.sh` does
one step of its stage (STEPS); commands of train.py, which would train for days, are told to stop
after their first step, as a batch system does. What sets a machine up, and nano's commands, have
tests of their own: test_setup.py and test_quickstart.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from local_hub import LocalHub
from plyfile import PlyData
from published.layout import TINY, write_standins
from published.readme import ReadmeCommand, block_commands
from published.rehearsal import (
    Done,
    Rehearsal,
    accept_checksums,
    copy_repository,
    place_inputs,
    shrink_settings,
    user_environment,
)

from src.io.clip.clip import ClipPaths, open_clip
from src.io.video.video import read_video, video_info
from src.training.checkpoints.files import list_checkpoints
from src.training.loop.journal import read_journal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SECTIONS = ("The full size", "Make a scene", "Train")
VIEWS = ("5", "0", "1", "2", "3", "4")
TIMES = (0, 60, 120)
STAGES = ("3dgs_res_176_320_views_17", "3dgs_res_704_1280_views_121")


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """All commands, run one after the other whatever becomes of those before."""
    root = tmp_path_factory.mktemp("published")
    made = write_standins(root / "stand-ins", TINY)
    folder = root / "open-lyra"
    copy_repository(folder)
    shrink_settings(folder, TINY.scene)
    place_inputs(folder, made)
    accept_checksums(folder / "checkpoints", made)
    readme = (folder / "README.md").read_text()
    with LocalHub(made.models, made.datasets, made.plain) as hub:
        run = Rehearsal(folder, user_environment(hub.environment(), root / "packages"))
        for command in block_commands(readme, SECTIONS):
            if not command.has("nano"):
                _run(run, command)
        run.run("bash inference.sh dataset_root=outputs/clips/static")
        yield run


def _run(run: Rehearsal, command: ReadmeCommand) -> None:
    before = _steps(run)
    endless = command.has("train.py")
    until = (lambda: _steps(run) > before) if endless else None
    run.run(command.text, until, STEPS="1")


def _steps(run: Rehearsal) -> int:
    """How many lines the journals of all trainings have."""
    journals = (run.folder / "outputs" / "training").glob("*/steps.jsonl")
    return sum(journal.read_text().count("\n") for journal in journals)


def found(run: Rehearsal, *words: str) -> list[Done]:
    """The commands with these words; each of them must have ended well."""
    commands = [done for done in run.done if ReadmeCommand("", done.command).has(*words)]
    assert commands, f"README has no command with {words}"
    return commands


def ended_well(run: Rehearsal, *words: str) -> None:
    for done in found(run, *words):
        assert done.status == 0, f"{done.command}\n{done.output[-4000:]}"


def test_the_downloads_end_in_the_published_tree(rehearsal: Rehearsal) -> None:
    """Catches a name, a repository or a checksum that the commands after it do not look for."""
    ended_well(rehearsal, "download_checkpoints.py")
    root = rehearsal.folder / "checkpoints"
    for name in ("Gen3C-Cosmos-7B/model.pt", "Lyra/lyra_static.pt", "Lyra/lyra_dynamic.pt"):
        assert (root / name).is_file(), name
    ended_well(rehearsal, "make_text_embeddings.py")
    status = rehearsal.run("git status --porcelain").output.splitlines()
    # Git must not see downloads, results, or what a download brings beside them.
    ours = ("configs/training", "RESULT", "CLIPS", "log")
    assert not [line for line in status if not line[3:].startswith(ours)]


@pytest.mark.parametrize(
    ("words", "kind", "key"),
    [
        (("single_image_sdg", "room.jpg"), "static", "room"),
        (("dynamic_sdg", "bouncing_ball.mp4"), "dynamic", "bouncing_ball"),
        (("dynamic_sdg", "--vipe_path"), "dynamic", "CLIP"),
    ],
    ids=["picture", "video", "vipe"],
)
def test_the_generator_commands_make_six_clips(
    rehearsal: Rehearsal, words: tuple[str, ...], kind: str, key: str
) -> None:
    """Catches weights that are not found, and clips that lack what the decoder takes."""
    ended_well(rehearsal, *words)
    size = TINY.scene
    for name in VIEWS:
        paths = ClipPaths(rehearsal.folder / "outputs" / "clips" / kind, name, key)
        clip = open_clip(paths)
        assert (clip.num_frames, clip.info.height, clip.info.width) == (
            121,
            size.height,
            size.width,
        )
        latents = clip.latents()
        assert latents.shape == (16, 16, size.height // 8, size.width // 8)
        assert torch.isfinite(latents).all() and 0.1 < latents.std() < 10
        assert torch.isfinite(clip.cameras().c2w).all()
        assert not_black(paths.rgb)
        assert clip.meta()["depth"] == ("vipe" if key == "CLIP" else "moge")


@pytest.mark.parametrize(
    ("kind", "key"), [("static", "room"), ("dynamic", "bouncing_ball")], ids=["static", "dynamic"]
)
def test_both_decoders_write_gaussians_and_renderings(
    rehearsal: Rehearsal, kind: str, key: str
) -> None:
    """Catches a published decoder that is refused, empty or infinite scenes, black renderings."""
    ended_well(rehearsal, "sample.py", f"lyra_{kind}")
    root = rehearsal.folder / f"outputs/demo/lyra_{kind}/static_view_indices_fixed_5_0_1_2_3_4"
    root /= f"lyra_{kind}_demo"
    folders = [root] if kind == "static" else [root / str(time) for time in TIMES]
    for folder in folders:
        scenes = scene_numbers(folder)
        assert key in scenes
        number = scenes[key]
        check_gaussians(folder / f"gaussians_orig/gaussians_{number}.ply")
        for name in (f"main_gaussians_renderings/rgb_{number}", f"full_output/sample_{number}"):
            assert not_black(folder / f"{name}.mp4")
        assert video_info(folder / f"raw/rgb_{number}_view_idx_5.mp4").num_frames == 31


def test_the_training_commands_leave_checkpoints(rehearsal: Rehearsal) -> None:
    """Catches a training that does not find what the downloads and the generator left."""
    ended_well(rehearsal, "add_depth.py")
    for name in VIEWS:
        paths = ClipPaths(rehearsal.folder / "outputs" / "clips" / "static", name, "room")
        assert (open_clip(paths).depth() > 0).any()
    ended_well(rehearsal, "train.sh")
    for stage in STAGES:
        folder = rehearsal.folder / "outputs" / "training" / stage
        steps = [record for record in read_journal(folder) if "loss" in record]
        assert steps and np.isfinite([record["loss"] for record in steps]).all()
        # Of the published loss no term may be missing.
        assert {"mse", "loss_depth", "loss_lpips"} <= set(steps[0])
        assert list_checkpoints(folder)


def test_what_trains_for_days_stops_with_a_checkpoint(rehearsal: Rehearsal) -> None:
    """Catches a published configuration that cannot be started on the published weights."""
    commands = found(rehearsal, "accelerate launch train.py")
    assert len(commands) == 2
    for done in commands:
        assert "is written" in done.output, f"{done.command}\n{done.output[-4000:]}"


def test_every_trained_stage_is_rendered(rehearsal: Rehearsal) -> None:
    """Catches checkpoints that the rendering of all stages does not take."""
    ended_well(rehearsal, "inference.sh")
    for stage in STAGES:
        root = rehearsal.folder / "outputs" / "inference" / stage
        plys = sorted(root.rglob("gaussians_0.ply"))
        assert len(plys) == 1, stage
        check_gaussians(plys[0])


def scene_numbers(folder: Path) -> dict[str, int]:
    """The number of each scene in a folder of results."""
    paths = sorted((folder / "meta").glob("sample_*.json"))
    return {
        json.loads(path.read_text())["file_name"][0]: int(path.stem.removeprefix("sample_"))
        for path in paths
    }


def check_gaussians(path: Path) -> None:
    """One or more Gaussians, all of them finite, as plyfile reads them."""
    vertices = PlyData.read(str(path))["vertex"].data
    assert len(vertices) > 0
    assert all(np.isfinite(vertices[name]).all() for name in vertices.dtype.names)


def not_black(path: Path) -> bool:
    """Whether the video decodes to its end and is neither black nor of one colour."""
    frames = read_video(path).float()
    return len(frames) == video_info(path).num_frames and bool(
        frames.mean() > 10 and frames.std() > 1
    )
