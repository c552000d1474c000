"""Whole runs on tiny random weights: what is written, shared, resumed, refused."""

import errno
import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_video
import torch
from safetensors.torch import load_file, save_file
from tiny_generator import MULTI, write_depth, write_picture, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, WIDTH

from cosmos_predict1.diffusion import clips, fitting, preparation
from cosmos_predict1.diffusion import run as sdg
from cosmos_predict1.diffusion.clips import Job
from cosmos_predict1.diffusion.conditioning.cache import PointCache
from cosmos_predict1.diffusion.config import SdgConfig, sdg_config
from cosmos_predict1.diffusion.flags import dynamic_parser, static_parser
from cosmos_predict1.diffusion.memory import PLANS
from cosmos_predict1.diffusion.outputs import ShotFiles
from cosmos_predict1.diffusion.run import run, share
from cosmos_predict1.diffusion.sampling import recipe
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C
from cosmos_predict1.diffusion.sampling.sampler import initial_noise
from cosmos_predict1.diffusion.scenes.inputs import SceneInput
from cosmos_predict1.diffusion.scenes.shots import Shot
from src.geometry.trajectories import MULTI_TRAJECTORY, TrajectorySpec, make_trajectory
from src.io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from src.io.locks import clip_lock
from src.io.video.video import VideoWriter, read_video
from src.runtime import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def static(weights: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the command for pictures into `tmp_path/out`."""
    return _command(static_parser, weights, tmp_path)


@pytest.fixture
def dynamic(weights: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the command for videos into `tmp_path/out`."""
    return _command(dynamic_parser, weights, tmp_path)


def _command(parser: Callable, weights: Path, folder: Path) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        common = ["--checkpoint_dir", weights, "--video_save_folder", folder / "out"]
        line = [str(part) for part in (*common, "--device", "cpu", *arguments)]
        run(sdg_config(parser("").parse_args(line)))

    return call


def latents(root: Path) -> dict[str, torch.Tensor]:
    """The latents of every clip."""
    return {
        f"{name}/{key}": open_clip(ClipPaths(root, name, key)).latents()
        for name in list_trajectories(root)
        for key in list_keys(root)
    }


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """Calls of a function or method from now on, which goes on working."""
    calls, original = [], getattr(owner, name)

    def count(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, count)
    return calls


def test_one_picture_six_trajectories(static: Callable, tmp_path: Path) -> None:
    """Files, types or shapes other than the decoder reads; cameras that are not the generated."""
    picture = write_picture(tmp_path / "00172.png")
    static("--input_image_path", picture, "--multi_trajectory", "--foreground_masking")
    root = tmp_path / "out"
    assert sorted(path.name for path in root.iterdir()) == list(MULTI)
    for name, limits in zip(MULTI, MULTI_TRAJECTORY, strict=True):
        clip = open_clip(ClipPaths(root, name, "00172"))
        assert clip.num_frames == FRAMES and clip.info.fps == 24
        assert clip.latents().shape == (16, 2, HEIGHT // 8, WIDTH // 8)
        assert torch.isfinite(clip.latents()).all()
        meta = clip.meta()
        spec = TrajectorySpec(**meta["trajectory"])
        assert spec.name == limits.name and limits.lowest <= spec.distance <= limits.highest
        wanted = make_trajectory(spec, FRAMES)
        torch.testing.assert_close(clip.cameras().w2c, wanted, atol=1e-5, rtol=0)
        assert meta["depth"] == "nano" and meta["depth_divisor"] > 0 and meta["versions"]["torch"]
    assert len({open_clip(ClipPaths(root, name, "00172")).meta()["seed"] for name in MULTI}) == 6
    parts = {"rgb", "pose", "intrinsics", "latent", "meta"}
    assert {path.name for path in (root / "0").iterdir()} == parts


def test_networks_load_once_and_scenes_are_prepared_once(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original's six loads of everything, and six times the depth of one picture."""
    for name in ("a.png", "b.jpg"):
        write_picture(tmp_path / "photos" / name)
    loads = counted(monkeypatch, sdg, "load_gen3c")
    backends = counted(monkeypatch, preparation, "resolve_depth")
    reads = counted(monkeypatch, preparation, "still_scene")
    first = counted(monkeypatch, Gen3C, "first_latent")
    texts = counted(monkeypatch, preparation, "prompt_contexts")
    clips = counted(monkeypatch, Gen3C, "generate")
    static("--input_image_path", tmp_path / "photos", "--multi_trajectory", "--num_steps", 1)
    counts = [len(calls) for calls in (loads, backends, reads, first, texts, clips)]
    assert counts == [1, 1, 2, 2, 1, 12]
    assert list_keys(tmp_path / "out") == ["a", "b"]


def test_a_second_run_makes_what_is_missing_and_nothing_else(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished clips made again, unfinished ones kept, or other clips the second time."""
    picture = write_picture(tmp_path / "a.png")
    arguments = ("--input_image_path", picture, "--multi_trajectory", "--num_steps", 1)
    static(*arguments)
    root = tmp_path / "out"
    before = latents(root)
    (root / "2" / "meta" / "a.json").unlink()
    (root / "4" / "latent" / "a.pkl").unlink()
    times = {name: (root / name / "rgb" / "a.mp4").stat().st_mtime_ns for name in MULTI}
    made = counted(monkeypatch, Gen3C, "generate")
    static(*arguments)
    assert len(made) == 2
    changed = [n for n in MULTI if (root / n / "rgb" / "a.mp4").stat().st_mtime_ns != times[n]]
    assert changed == ["2", "4"]
    torch.testing.assert_close(latents(root), before)
    loads = counted(monkeypatch, sdg, "load_gen3c")
    static(*arguments)
    assert not loads


def test_the_lock_of_a_finished_clip_goes(static: Callable, tmp_path: Path) -> None:
    """A lock that stays for ever: a run was killed after the last file of a clip was there."""
    picture = write_picture(tmp_path / "a.png")
    static("--input_image_path", picture, "--num_steps", 1)
    left, held = (tmp_path / "out" / "meta" / name for name in (".a.lock", ".b.lock"))
    left.write_text("process 1 on another host")
    held.write_text("process 1 on another host")
    static("--input_image_path", picture, "--num_steps", 1)
    assert not left.exists() and held.exists()
    with clip_lock(ClipPaths(tmp_path / "out", "", "a")):
        static("--input_image_path", picture, "--num_steps", 1)
        assert left.exists()


def test_other_settings_want_another_folder(static: Callable, tmp_path: Path) -> None:
    """A resumed run whose clips differ from those that are there already."""
    picture = write_picture(tmp_path / "a.png")
    static("--input_image_path", picture, "--num_steps", 1)
    for changed in (("--seed", 2), ("--num_steps", 2), ("--movement_distance", 0.1)):
        with pytest.raises(InputError, match="another --video_save_folder"):
            static("--input_image_path", picture, "--num_steps", 1, *changed)


def test_the_log_names_the_rung_and_counts_forwards(
    static: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rung that does not reach the sampler, and clips of two rungs in one folder."""
    picture = write_picture(tmp_path / "a.png")
    line = ("--input_image_path", picture, "--num_steps", 12)
    with caplog.at_level(logging.INFO, logger=sdg.__name__):
        static(*line, "--speed", "same")
    # Ten levels down to the stop, eight of them inside of the guidance interval.
    assert "a: 18 forwards, --speed same" in caplog.messages
    assert open_clip(ClipPaths(tmp_path / "out", "", "a")).meta()["forwards"] == 18
    with pytest.raises(InputError, match="guidance_interval"):
        static(*line)


def test_published_draws_are_one_for_all_trajectories(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that changes the cameras and not the noise, or that a resumed run forgets."""
    noises = []

    def note(*arguments: Any, **named: Any) -> torch.Tensor:
        noises.append(initial_noise(*arguments, **named))
        return noises[-1]

    monkeypatch.setattr(recipe, "initial_noise", note)
    line = ("--input_image_path", write_picture(tmp_path / "a.png"), "--num_steps", 1)
    static(*line, "--multi_trajectory", "--seed", 3, "--published_draws")
    assert len(noises) == 6 and all(torch.equal(noise, noises[0]) for noise in noises)
    assert torch.equal(noises[0], initial_noise(tuple(noises[0].shape), 3, "cpu", True))
    metas = [open_clip(ClipPaths(tmp_path / "out", name, "a")).meta() for name in MULTI]
    assert {meta["seed"] for meta in metas} == {3}
    place = {
        round((meta["trajectory"]["distance"] - path.lowest) / (path.highest - path.lowest), 6)
        for meta, path in zip(metas, MULTI_TRAJECTORY, strict=True)
    }
    assert place == {0.237965}
    with pytest.raises(InputError, match="another --video_save_folder"):
        static(*line, "--multi_trajectory", "--seed", 3)


@pytest.mark.parametrize(("jobs", "processes"), [(6, 1), (6, 2), (6, 4), (5, 8), (13, 3)])
def test_shares_are_everything_once_and_nearly_equal(jobs: int, processes: int) -> None:
    """A clip that no process makes, or two do."""
    shot = Shot("0", TrajectorySpec("left", 0.3))
    items = [Job(SceneInput(str(number), None), shot) for number in range(jobs)]
    parts = [list(share(items, index, processes)) for index in range(processes)]
    assert sum(parts, []) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_processes_make_the_same_clips_as_one(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips that depend on which process makes them, or on what it made before."""
    picture = write_picture(tmp_path / "a.png")
    arguments = ("--input_image_path", picture, "--multi_trajectory", "--num_steps", 1)
    static(*arguments)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        static(*arguments, "--num_gpus", 2, "--video_save_folder", tmp_path / "shared")
        assert len(list_trajectories(tmp_path / "shared")) == (3 if rank == "1" else 6)
    torch.testing.assert_close(latents(tmp_path / "shared"), latents(tmp_path / "out"))


def test_two_runs_on_one_folder(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run that writes over the first one's clips, or fails though all clips are there."""
    picture = write_picture(tmp_path / "a.png")
    arguments = ("--input_image_path", picture, "--multi_trajectory", "--num_steps", 1)
    static(*arguments)
    whole = latents(tmp_path / "out")
    meta = tmp_path / "out/3/meta/a.json"
    content = meta.read_bytes()
    for name in MULTI:
        (tmp_path / "out" / name / "meta/a.json").unlink()
    made = counted(monkeypatch, Gen3C, "generate")
    generated = threading.Event()
    original = Gen3C.decode

    def decode(generator: Gen3C, *rest: Any) -> torch.Tensor:
        generated.set()
        return original(generator, *rest)

    monkeypatch.setattr(Gen3C, "decode", decode)

    def first_run() -> None:
        # Writes one clip, and is done with it when the second run has made some of the others.
        with clip_lock(ClipPaths(tmp_path / "out", "3", "a")):
            ready.set()
            assert generated.wait(60)
            meta.write_bytes(content)

    ready = threading.Event()
    thread = threading.Thread(target=first_run)
    thread.start()
    assert ready.wait(60)
    static(*arguments)
    thread.join()
    assert len(made) == 5
    torch.testing.assert_close(latents(tmp_path / "out"), whole)


def test_a_run_with_nothing_but_held_clips_loads_nothing(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 GB loaded for clips that another run is finishing."""
    picture = write_picture(tmp_path / "a.png")
    arguments = ("--input_image_path", picture, "--num_steps", 1)
    static(*arguments)
    paths = ClipPaths(tmp_path / "out", "", "a")
    content = paths.meta.read_bytes()
    paths.meta.unlink()
    waited, ready = threading.Event(), threading.Event()

    def first_run() -> None:
        with clip_lock(paths):
            ready.set()
            assert waited.wait(60)
            paths.meta.write_bytes(content)

    def note(*_: object) -> None:
        waited.set()

    monkeypatch.setattr(clips.LOGGER, "info", note)
    loads = counted(monkeypatch, sdg, "load_gen3c")
    thread = threading.Thread(target=first_run)
    thread.start()
    assert ready.wait(60)
    static(*arguments)
    thread.join()
    assert not loads


def another_picture(weights: Path, tmp_path: Path) -> list[str]:
    write_picture(tmp_path / "a.png", seed=7)
    return []


def other_weights(weights: Path, tmp_path: Path) -> list[str]:
    path = next((weights / "generator").glob("*.safetensors"))
    state = load_file(path)
    save_file({name: part + 1e-3 for name, part in state.items()}, path)
    return []


def other_depth_weights(weights: Path, tmp_path: Path) -> list[str]:
    path = weights / "depth/model.safetensors"
    state = load_file(path)
    save_file({name: part * 1.01 for name, part in state.items()}, path)
    return []


def a_depth_file(weights: Path, tmp_path: Path) -> list[str]:
    return ["--depth", str(write_depth(tmp_path / "z.npz"))]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (another_picture, r"made_from\.input\.content"),
        (other_weights, r"made_from\.generator"),
        (other_depth_weights, r"made_from\.input\.depth_weights"),
        (a_depth_file, r"made_from\.input\.depth"),
    ],
)
def test_clips_of_something_else_are_refused(
    tmp_path: Path, change: Callable[[Path, Path], list[str]], named: str
) -> None:
    """Old clips that pass for new ones; six clips of two pictures after a killed run."""
    weights = write_tiny_weights(tmp_path / "weights")
    static = _command(static_parser, weights, tmp_path)
    picture = write_picture(tmp_path / "a.png")
    arguments = ("--input_image_path", picture, "--num_steps", 1)
    static(*arguments)
    clip = ClipPaths(tmp_path / "out", "", "a")
    before = open_clip(clip).latents()
    more = change(weights, tmp_path)
    with pytest.raises(InputError, match=rf"meta/a\.json.*{named}.*--overwrite"):
        static(*arguments, *more)
    static(*arguments, *more, "--overwrite")
    assert not torch.equal(before, open_clip(clip).latents())
    # What is replaced is finished, even for a run that may overwrite.
    stamp = clip.rgb.stat().st_mtime_ns
    static(*arguments, *more, "--overwrite")
    assert clip.rgb.stat().st_mtime_ns == stamp


def test_a_changed_part_of_a_vipe_result_is_noticed(dynamic: Callable, tmp_path: Path) -> None:
    """A corrected depth or pose beside the same video, and the old clips."""
    video = tiny_video.write_vipe(tmp_path / "v", "dog")
    arguments = ("--vipe_path", video, "--num_steps", 1)
    dynamic(*arguments)
    path = tmp_path / "v/pose/dog.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["data"][:, 0, 3] += 0.1
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=r"made_from\.input\.pose"):
        dynamic(*arguments)


def test_clips_that_disappear_are_an_error(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 for an output folder that somebody emptied meanwhile."""
    picture = write_picture(tmp_path / "a.png")
    original = ShotFiles.write

    def remove_after(files: ShotFiles, *rest: Any) -> None:
        original(files, *rest)
        shutil.rmtree(tmp_path / "out")

    monkeypatch.setattr(ShotFiles, "write", remove_after)
    with pytest.raises(InputError, match="1 clips that were written are gone"):
        static("--input_image_path", picture, "--num_steps", 1)


def test_one_bad_picture_does_not_stop_the_others(static: Callable, tmp_path: Path) -> None:
    """A batch that ends at its first bad picture, or with exit code 0 in spite of it."""
    write_picture(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"")
    (tmp_path / "photos" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    write_picture(tmp_path / "photos" / "d.png")
    with pytest.raises(InputError, match=r"(?s)b\.png.*\n.*c\.png"):
        static("--input_image_path", tmp_path / "photos", "--num_steps", 1)
    assert sorted(path.stem for path in (tmp_path / "out" / "rgb").iterdir()) == ["a", "d"]


def test_a_full_disk_ends_the_run_at_once(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five more clips generated for a disk that has no room for any."""
    picture = write_picture(tmp_path / "a.png")
    made = counted(monkeypatch, Gen3C, "generate")

    def refuse(_writer: VideoWriter, _frames: torch.Tensor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoWriter, "write", refuse)
    with pytest.raises(InputError, match="No space left"):
        static("--input_image_path", picture, "--multi_trajectory", "--num_steps", 1)
    # The second one had begun, while the first one was written.
    assert len(made) <= 2
    assert not list((tmp_path / "out").rglob("*.json")) and not list(tmp_path.rglob("*.mp4"))


def test_a_clip_is_written_beside_the_next_one(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips that wait for each other, or a lock that goes before its clip is there."""
    picture = write_picture(tmp_path / "a.png")
    begun, original, generate = threading.Event(), ShotFiles.write, Gen3C.generate
    calls: list[bool] = []

    def note(*arguments: Any, **named: Any) -> Any:
        calls.append(True)
        if len(calls) == 2:
            with pytest.raises(InputError, match="in use"), clip_lock(first):
                pass
            begun.set()
        return generate(*arguments, **named)

    def write(files: ShotFiles, *rest: Any) -> None:
        assert begun.wait(60), "the next clip waits"
        original(files, *rest)

    first = ClipPaths(tmp_path / "out", "0", "a")
    monkeypatch.setattr(Gen3C, "generate", note)
    monkeypatch.setattr(ShotFiles, "write", write)
    static("--input_image_path", picture, "--multi_trajectory", "--num_steps", 1)
    assert list_trajectories(tmp_path / "out") == list(MULTI) and len(calls) == 6
    assert not list((tmp_path / "out").rglob(".*.lock"))


def test_a_clip_that_cannot_be_written_stops_no_other(
    static: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the thread that nobody hears of."""
    picture = write_picture(tmp_path / "a.png")
    original = ShotFiles.write

    def write(files: ShotFiles, *rest: Any) -> None:
        if files.shot.folder == "2":
            raise InputError("poses", "a bend", "none")
        original(files, *rest)

    monkeypatch.setattr(ShotFiles, "write", write)
    with pytest.raises(InputError, match=r"without all clips(?s:.*)a: poses: got a bend"):
        static("--input_image_path", picture, "--multi_trajectory", "--num_steps", 1)
    found = sorted(path.parent.parent.name for path in (tmp_path / "out").rglob("meta/*.json"))
    assert found == ["0", "1", "3", "4", "5"]


def test_a_single_trajectory_lies_in_the_root(static: Callable, tmp_path: Path) -> None:
    """A folder number where the published layout has none, and warps in the result."""
    picture, z = write_picture(tmp_path / "a.png"), write_depth(tmp_path / "z.npz")
    static("--input_image_path", picture, "--depth", z, "--trajectory", "zoom_in", "--save_buffer")
    clip = open_clip(ClipPaths(tmp_path / "out", "", "a"))
    wanted = make_trajectory(TrajectorySpec("zoom_in", 0.3), FRAMES)
    torch.testing.assert_close(clip.cameras().w2c, wanted, atol=1e-6, rtol=0)
    assert clip.meta()["depth_divisor"] == pytest.approx(1.5, abs=0.05)
    assert clip.info.width == WIDTH
    assert (tmp_path / "out_buffers" / "a.mp4").is_file()


def test_more_frames_than_the_weights_can_do(static: Callable, tmp_path: Path) -> None:
    """Pieces that do not follow on each other, or latents that are lost between them."""
    picture = write_picture(tmp_path / "a.png")
    count = 2 * (FRAMES - 1) + 1
    static("--input_image_path", picture, "--num_video_frames", count, "--num_steps", 1)
    parts = [open_clip(ClipPaths(tmp_path / "out", "", f"a_part{index}")) for index in range(2)]
    wanted = make_trajectory(TrajectorySpec("left", 0.3), count)
    for index, part in enumerate(parts):
        start = index * (FRAMES - 1)
        torch.testing.assert_close(
            part.cameras().w2c, wanted[start : start + FRAMES], atol=1e-6, rtol=0
        )
        assert part.latents().shape == (16, 2, HEIGHT // 8, WIDTH // 8)
    assert not torch.allclose(parts[0].latents(), parts[1].latents())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num_video_frames", "12"], "--num_video_frames"),
        (["--num_video_frames", "33"], None),
        (["--num_video_frames", "30"], "--num_video_frames"),
        (["--height", "40"], "multiple of 16"),
        (["--width", "112"], "at most 96"),
        (["--prompt", "a dog"], "without a text encoder"),
        (["--depth", "z.npz", "--num_video_frames", "17"], "--depth"),
        (["--depth", "deep"], "depth backend"),
        (["--input_image_path", "nowhere.jpg"], "nowhere.jpg"),
        (["--checkpoint_dir", "nowhere"], "no weights of the generator"),
        (["--trajectory_file", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_done_is_said_early(
    static: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str | None,
) -> None:
    """Minutes of loading before a mistake in the flags is noticed."""
    picture = write_picture(tmp_path / "a.png")

    class Loaded(Exception):
        pass

    def load(_config: object) -> None:
        raise Loaded

    monkeypatch.setattr(sdg, "load_gen3c", load)
    with pytest.raises(Loaded if words is None else InputError, match=words):
        static("--input_image_path", picture, *arguments)


def test_a_missing_text_encoder_is_noticed_before_the_networks_load(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 GB loaded for a run that lacks T5, or no way to go on without it."""
    shutil.copytree(weights, tmp_path / "weights")
    path = tmp_path / "weights" / "generator" / "config.json"
    path.write_text(path.read_text().replace('"text_encoder": "none"', '"text_encoder": "t5"'))
    static = _command(static_parser, tmp_path / "weights", tmp_path)
    picture = write_picture(tmp_path / "a.png")
    loads = counted(monkeypatch, sdg, "load_gen3c")
    with pytest.raises(InputError, match="--disable_prompt_encoder"):
        static("--input_image_path", picture, "--num_steps", 1)
    assert not loads
    static("--input_image_path", picture, "--num_steps", 1, "--disable_prompt_encoder")
    assert ClipPaths(tmp_path / "out", "", "a").latent.is_file()


@pytest.mark.parametrize("moving", [False, True])
def test_full_weights_without_moge_stop_before_anything_is_loaded(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moving: bool
) -> None:
    """The small depth network in the place of the published one, or 60 GB loaded first."""
    shutil.copytree(weights, tmp_path / "weights", ignore=shutil.ignore_patterns("depth"))
    parser = dynamic_parser if moving else static_parser
    command = _command(parser, tmp_path / "weights", tmp_path)
    plain = tmp_path / "plain.mp4"
    tiny_video.write_plain(plain, fps=15.0)
    line = ("--input_image_path", plain if moving else write_picture(tmp_path / "a.png"))
    monkeypatch.setitem(sys.modules, "moge", None)
    loads = [counted(monkeypatch, sdg, name) for name in ("load_gen3c", "Prompts")]
    with pytest.raises(InputError, match="no package moge.*pip install --no-deps dlr-moge"):
        command(*line, "--num_steps", 1)
    assert not any(loads)
    # By name, and for input that brings its depth, it is not missed.
    command(*line, "--num_steps", 1, "--depth", "nano")
    assert open_clip(ClipPaths(tmp_path / "out", "", Path(line[1]).stem)).meta()["depth"] == "nano"
    if moving:
        command("--vipe_path", tiny_video.write_vipe(tmp_path / "v"), "--num_steps", 1)


@pytest.mark.parametrize("kind", ["vipe", "tensors", "folder"])
def test_a_video_with_depth(dynamic: Callable, tmp_path: Path, kind: str) -> None:
    """Trajectories that forget the video's own camera, its depth or its frame rate."""
    write = {
        "vipe": lambda: ("--vipe_path", tiny_video.write_vipe(tmp_path / "v", "dog")),
        "tensors": lambda: ("--input_image_path", tiny_video.write_tensors(tmp_path / "dog.pt")),
        "folder": lambda: ("--input_image_path", tiny_video.write_folder(tmp_path / "dog")),
    }
    flags = ("--trajectory", "right", "--num_steps", 1, "--foreground_masking")
    dynamic(*write[kind](), *flags, "--center_depth_quantile")
    clip = open_clip(ClipPaths(tmp_path / "out", "", "dog"))
    local = make_trajectory(TrajectorySpec("right", 0.3), FRAMES, clip.meta()["center_depth"])
    wanted = local @ tiny_video.cameras().w2c
    torch.testing.assert_close(clip.cameras().w2c, wanted, atol=1e-4, rtol=0)
    assert clip.meta()["center_depth"] == pytest.approx(3, abs=0.01)
    assert clip.info.fps == (24 if kind == "tensors" else 12)


def test_paths_turn_about_depth_1_unless_asked(dynamic: Callable, tmp_path: Path) -> None:
    """A published command line whose cameras are not the published ones."""
    video = tiny_video.write_vipe(tmp_path / "v")
    dynamic("--vipe_path", video, "--num_steps", 1, "--fps", 30)
    clip = open_clip(ClipPaths(tmp_path / "out", "", "clip"))
    assert clip.meta()["center_depth"] == 1 and clip.info.fps == 30
    local = make_trajectory(TrajectorySpec("left", 0.3), FRAMES)
    wanted = local @ tiny_video.cameras().w2c
    torch.testing.assert_close(clip.cameras().w2c, wanted, atol=1e-4, rtol=0)


def test_the_centre_is_that_of_the_weights_unless_asked_for(weights: Path, tmp_path: Path) -> None:
    """Small weights that forget what they were made for, and a run resumed about another centre."""
    shutil.copytree(weights, tmp_path / "weights")
    path = tmp_path / "weights" / "generator" / "config.json"
    stored = path.read_text()
    assert '"center_depth_quantile": false' in stored
    path.write_text(stored.replace('quantile": false', 'quantile": true'))
    dynamic = _command(dynamic_parser, tmp_path / "weights", tmp_path)
    line = ("--vipe_path", tiny_video.write_vipe(tmp_path / "v"), "--num_steps", 1)
    dynamic(*line)
    clip = open_clip(ClipPaths(tmp_path / "out", "", "clip"))
    assert clip.meta()["center_depth"] == pytest.approx(3, abs=0.01)
    with pytest.raises(InputError, match="another --video_save_folder"):
        dynamic(*line, "--no-center_depth_quantile")


def test_pixels_without_depth_count_as_published_where_asked(
    dynamic: Callable, tmp_path: Path
) -> None:
    """A flag for the published centre that does not reach the paths."""
    path = tiny_video.write_tensors(tmp_path / "dog.pt")
    parts = list(torch.load(path, weights_only=True))
    parts[1][:, :, : HEIGHT // 4] = 0
    torch.save(tuple(parts), path)
    line = ("--input_image_path", path, "--num_steps", 1, "--center_depth_quantile")
    centers = []
    for folder, flags in (("ours", ()), ("published", ("--published_invalid_depth",))):
        dynamic(*line, *flags, "--video_save_folder", tmp_path / folder)
        centers.append(open_clip(ClipPaths(tmp_path / folder, "", "dog")).meta()["center_depth"])
    assert centers == pytest.approx([3.025, 3.0], abs=0.008)


def test_flipped_supervision(dynamic: Callable, tmp_path: Path) -> None:
    """Folders 6 to 11 whose poses run against their frames."""
    video = tiny_video.write_vipe(tmp_path / "v", "clip")
    dynamic(
        *("--vipe_path", video, "--multi_trajectory", "--flip_supervision", "--num_steps", 1),
        "--save_buffer",
    )
    root = tmp_path / "out"
    assert list_trajectories(root) == [str(number) for number in range(12)]
    source = tiny_video.cameras().w2c
    for number in range(12):
        clip = open_clip(ClipPaths(root, str(number), "clip"))
        local = make_trajectory(TrajectorySpec(**clip.meta()["trajectory"]), FRAMES)
        local = local.flip(0) if number >= 6 else local
        torch.testing.assert_close(clip.cameras().w2c, local @ source, atol=1e-4, rtol=0)
        assert clip.paths.latent.is_file() == (number < 6)
        assert clip.meta()["backwards"] == (number >= 6)
        # The video gets brighter with time, and so do its warps; holes are black.
        warps = read_video(tmp_path / "out_buffers" / str(number) / "clip.mp4")
        middle = warps[:, HEIGHT // 2 - 4 : HEIGHT // 2 + 4, WIDTH // 2 - 4 : WIDTH // 2 + 4]
        bright = middle.float().mean(dim=(1, 2, 3))
        assert bright[-1] > bright[0] + 40, number


def test_a_plain_video_and_a_list_of_videos(dynamic: Callable, tmp_path: Path) -> None:
    """A video without ViPE results that needs them all the same."""
    tiny_video.write_plain(tmp_path / "plain.mp4", fps=15.0)
    tiny_video.write_folder(tmp_path / "posed")
    lines = [{"visual_input": "plain.mp4"}, {"visual_input": "posed", "prompt": ""}]
    (tmp_path / "batch.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dynamic("--batch_input_path", tmp_path / "batch.jsonl", "--num_steps", 1)
    plain = open_clip(ClipPaths(tmp_path / "out", "", "plain"))
    assert plain.info.fps == 15 and plain.meta()["depth"] == "nano"
    wanted = make_trajectory(TrajectorySpec("left", 0.3), FRAMES)
    torch.testing.assert_close(plain.cameras().w2c, wanted, atol=1e-5, rtol=0)
    assert open_clip(ClipPaths(tmp_path / "out", "", "posed")).meta()["depth"] == "folder"


def test_a_long_video_in_pieces(dynamic: Callable, tmp_path: Path) -> None:
    """Pieces that all show the beginning of the video."""
    count = 2 * (FRAMES - 1) + 1
    video = tiny_video.write_vipe(tmp_path / "v", "clip", count)
    flags = ("--num_video_frames", count, "--num_steps", 1, "--save_buffer")
    dynamic("--vipe_path", video, *flags, "--center_depth_quantile")
    local = make_trajectory(TrajectorySpec("left", 0.3), count, 3.0)
    wanted = local @ tiny_video.cameras(count).w2c
    for index in range(2):
        clip = open_clip(ClipPaths(tmp_path / "out", "", f"clip_part{index}"))
        start = index * (FRAMES - 1)
        torch.testing.assert_close(
            clip.cameras().w2c, wanted[start : start + FRAMES], atol=2e-3, rtol=0
        )
    bright = [
        read_video(tmp_path / "out_buffers" / f"clip_part{index}.mp4").float().mean().item()
        for index in range(2)
    ]
    assert bright[1] > bright[0] + 40


def test_a_plan_of_memory_changes_no_clip(
    dynamic: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan whose pieces fit together differently than the whole."""
    tiny_video.write_plain(tmp_path / "a.mp4", fps=15.0)
    plan = replace(PLANS["8"], chunk_tokens=5, stream_blocks=False)

    def fitted(config: SdgConfig, *_: object) -> SdgConfig:
        return replace(config, hardware=replace(config.hardware, plan=plan))

    line = ("--input_image_path", tmp_path / "a.mp4", "--multi_trajectory", "--num_steps", 1)
    dynamic(*line)
    wanted = latents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setattr(sdg, "fit_memory", fitted)
    lifts = counted(monkeypatch, PointCache, "_lift")
    dynamic(*line)
    found = latents(tmp_path / "out")
    assert len(lifts) > 1 and found.keys() == wanted.keys()
    for name, latent in found.items():
        torch.testing.assert_close(latent, wanted[name], rtol=1e-3, atol=1e-3)


GPU_FLAGS = [
    ("--offload_tokenizer",),
    ("--offload_diffusion_transformer", "--offload_tokenizer"),
    ("--memory", "8"),
]


@pytest.mark.gpu
@pytest.mark.parametrize("flags", GPU_FLAGS)
def test_flags_of_memory_change_no_clip(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """Networks that compute before their weights have arrived, or on the wrong device."""
    # It would hold for all later tests.
    monkeypatch.setattr(fitting, "limit_memory", lambda *_: None)
    picture = write_picture(tmp_path / "a.png")
    line = ["--checkpoint_dir", weights, "--input_image_path", picture, "--device", "cuda"]
    for name, chosen in (("plain", ("--memory", "max")), ("offloaded", flags)):
        arguments = [*line, "--video_save_folder", tmp_path / name, "--multi_trajectory", *chosen]
        run(sdg_config(static_parser("").parse_args([str(part) for part in arguments])))
    wanted = latents(tmp_path / "plain")
    for name, found in latents(tmp_path / "offloaded").items():
        # Sums of the splats come in any order, and bfloat16 shows it.
        assert (found - wanted[name]).norm() < 0.03 * wanted[name].norm()


def test_a_video_without_frames(dynamic: Callable, tmp_path: Path) -> None:
    """A broken video that ends in a traceback."""
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.mp4"):
        dynamic("--input_image_path", tmp_path / "a.mp4", "--num_steps", 1)
