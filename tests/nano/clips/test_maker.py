"""Clips of worlds made together, beside what the product makes one by one."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupting import interrupt
from tiny_generator import MULTI, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, WIDTH

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings, PointCache
from cosmos_predict1.diffusion.config import sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.model.text import prompt_contexts
from cosmos_predict1.diffusion.run import run
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan
from cosmos_predict1.diffusion.sampling.rollout import PreparedScene, roll_out
from nano.clips import maker as clip_maker
from nano.clips.config import ClipsConfig, load_clips_config
from nano.clips.maker import ClipMaker
from nano.clips.run import make_clips
from nano.worlds.film import film_worlds
from nano.worlds.scene import Worlds, build_worlds
from src.geometry.cameras import invert_rigid
from src.io.clip.clip import SUFFIXES, Clip, ClipPaths, list_keys, list_trajectories, open_clip
from src.io.depth_file import count
from src.runtime import InputError
from src.training.loop.interruption import Interrupted

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def config(weights: Path, tmp_path: Path) -> ClipsConfig:
    return ClipsConfig(
        output=str(tmp_path / "clips"), checkpoint_dir=str(weights), worlds=2, workers=0
    )


def clips_of(root: Path, key: str) -> list[torch.Tensor]:
    """The latents of a world's clips."""
    return [open_clip(ClipPaths(root, name, key)).latents() for name in MULTI]


def write_source(config: ClipsConfig, seed: int, folder: Path) -> Path:
    """The picture of a world, as a user would give it to the command."""
    from PIL import Image

    still, time = torch.eye(4).expand(1, 1, 4, 4), torch.zeros(1)
    film = film_worlds(build_worlds([seed]), still, time, (HEIGHT, WIDTH), compile=False)
    path = folder / f"world_{seed:06d}.png"
    Image.fromarray(film.color[0, 0].numpy()).save(path)
    return path


def test_clips_are_those_of_the_command(config: ClipsConfig, tmp_path: Path) -> None:
    """Other cameras, seeds, warps or noise than at inference; a batch that mixes clips."""
    make_clips(replace(config, depth="nano"))
    pictures = [write_source(config, seed, tmp_path) for seed in config.seeds]
    for picture in pictures:
        arguments = ["--input_image_path", picture, "--video_save_folder", tmp_path / "out"]
        arguments += ["--checkpoint_dir", config.checkpoint_dir, "--device", "cpu"]
        arguments += ["--multi_trajectory", "--foreground_masking", "--seed", 1]
        run(sdg_config(static_parser("").parse_args([str(part) for part in arguments])))
    ours, theirs = tmp_path / "clips" / "static", tmp_path / "out"
    for picture in pictures:
        key = picture.stem
        torch.testing.assert_close(clips_of(ours, key), clips_of(theirs, key), atol=2e-5, rtol=1e-4)
        for name in MULTI:
            mine, other = (open_clip(ClipPaths(root, name, key)) for root in (ours, theirs))
            assert torch.equal(mine.cameras().c2w, other.cameras().c2w)
            torch.testing.assert_close(mine.cameras().intrinsics, other.cameras().intrinsics)
            difference = mine.frames().float() - other.frames().float()
            assert difference.abs().mean() < 0.2 and mine.info.fps == other.info.fps
            assert mine.meta()["seed"] == other.meta()["seed"]
    first, second = (clips_of(ours, picture.stem) for picture in pictures)
    assert not torch.allclose(first[0], second[0]) and not torch.allclose(first[0], first[1])


def test_moving_clips_are_those_of_one_scene_alone(config: ClipsConfig) -> None:
    """Reversed clips that are stored backwards, or start from the first frame; mixed-up times."""
    config = replace(config, dynamic=True, worlds=1, depth="nano", archives="none")
    maker = ClipMaker(config)
    scene = next(maker._scenes(config.seeds, build_worlds(config.seeds, True)))[1]
    plans = list(maker._plans(config.seeds[0], scene))
    made = {paths.trajectory: clip for paths, clip in maker(config.seeds)}
    assert list(made) == [str(number) for number in range(12)]
    # Equal scenes that are not the same object, as after a way between processes.
    copies = [replace(plan, scene=replace(plan.scene)) for plan in plans]
    assert clip_maker.scene_groups(copies) == [
        [plan for plan in copies if plan.shot.backwards == direction] for direction in (False, True)
    ]
    for plan in (plans[1], plans[9]):
        backwards, seen = plan.shot.backwards, plan.scene
        assert torch.equal(seen.first_frame, scene.sources.image[-1 if backwards else 0])
        cache = PointCache(seen.sources, CacheSettings(drop_invalid=True), moving=True)
        texts = prompt_contexts(maker.generator.network.config, None)
        first = maker.generator.first_latent(seen.first_frame)
        prepared = PreparedScene(seen, cache, first, texts)
        settings = maker.settings
        sampling = SamplingPlan(
            num_steps=settings.num_steps,
            guidance=settings.guidance,
            fps=maker.fps,
            seeds=(plan.seed,),
        )
        (rolled,) = roll_out(maker.generator, prepared, plan.rig, settings, sampling)
        clip = made[plan.shot.folder]
        frames = rolled.piece.frames.flip(0) if backwards else rolled.piece.frames
        assert clip.frames is not None
        assert (clip.frames.int() - frames.int()).abs().max() <= 1
        if backwards:
            assert clip.latents is None
            torch.testing.assert_close(clip.cameras.c2w[-1], torch.eye(4))
        else:
            torch.testing.assert_close(clip.latents, rolled.piece.latents, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(clip.cameras.c2w[0], torch.eye(4))


@pytest.mark.parametrize("dynamic", [False, True])
def test_truth_is_the_world_itself(config: ClipsConfig, dynamic: bool) -> None:
    """Truth from other cameras or times than the clip says; latents of something else."""
    config = replace(config, dynamic=dynamic, worlds=1, depth="truth", targets="truth")
    maker, seeds = ClipMaker(replace(config, archives="truth")), config.seeds
    made = {paths.trajectory: clip for paths, clip in maker(seeds)}
    times = torch.linspace(0, 1, FRAMES)
    for name in ["3", "9"] if dynamic else ["3", "4"]:
        clip = made[name]
        world, c2w = build_worlds(seeds, dynamic), clip.cameras.c2w[None]
        film = film_worlds(world, c2w, times, (HEIGHT, WIDTH), compile=False)
        assert clip.frames is not None and clip.depth is not None
        assert (clip.frames.int() - film.color[0].int()).abs().float().mean() < 0.1
        torch.testing.assert_close(clip.depth.float(), film.depth[0], rtol=2e-3, atol=1e-3)
        torch.testing.assert_close(clip.cameras.intrinsics[0], film.intrinsics[0])
        if name == "9":
            continue
        video = clip.frames.movedim(-1, 0)[None].float() / 127.5 - 1
        tokenizer = maker.generator.tokenizer
        latents = tokenizer.statistics.normalise(tokenizer.encode(video))[0]
        torch.testing.assert_close(clip.latents, latents, atol=1e-5, rtol=1e-4)


def test_processes_write_what_one_writes(config: ClipsConfig, tmp_path: Path) -> None:
    """Clips that lose a part on their way to a writing process, or archives without depth."""
    config = replace(config, worlds=1)
    assert make_clips(config) == 6
    apart = replace(config, output=str(tmp_path / "apart"), workers=1)
    assert make_clips(apart) == 6
    ours, theirs = tmp_path / "clips" / "static", tmp_path / "apart" / "static"
    assert list_trajectories(ours) == list(MULTI) and list_keys(ours) == ["world_000000"]
    for name in MULTI:
        mine, other = (ClipPaths(root, name, "world_000000") for root in (ours, theirs))
        assert count(mine.depth) == FRAMES
        for part in SUFFIXES:
            assert mine.part(part).read_bytes() == other.part(part).read_bytes(), part


def test_a_second_run_makes_what_is_missing(config: ClipsConfig, tmp_path: Path) -> None:
    """Finished clips made again, or kept although they were made otherwise."""
    config = replace(config, archives="none")
    assert make_clips(replace(config, worlds=1)) == 6
    assert make_clips(config) == 6
    assert make_clips(config) == 0
    (tmp_path / "clips/static/2/meta/world_000001.json").unlink()
    maker = ClipMaker(replace(config, depth="truth"))
    assert [ClipMaker(config).is_made(seed) for seed in config.seeds] == [True, False]
    assert not any(maker.is_made(seed) for seed in config.seeds)
    assert make_clips(replace(config, worlds=4, max_minutes=0)) == 0


def test_a_stopped_run_leaves_whole_worlds(
    config: ClipsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worlds in some folders only, on which trainings stop; writers that a signal ends."""
    config = replace(config, archives="none", worlds=3, worlds_at_once=1, workers=1)
    make = ClipMaker.__call__

    def told_to_stop(
        maker: ClipMaker, seeds: Sequence[int], worlds: Worlds | None = None
    ) -> list[tuple[ClipPaths, Clip]]:
        for process in [*multiprocessing.active_children()]:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        return make(maker, seeds, worlds)

    monkeypatch.setattr(ClipMaker, "__call__", told_to_stop)
    with pytest.raises(Interrupted, match="6 clips"):
        make_clips(config)
    root = Path(config.output) / "static"
    assert [path.stem for path in root.glob("*/meta/*")] == ["world_000000"] * len(MULTI)
    (root / "3" / "meta" / "world_000000.json").unlink()
    assert make_clips(replace(config, workers=0, max_minutes=0)) == 0
    assert not [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_ctrl_c_leaves_whole_worlds(config: ClipsConfig) -> None:
    """A Ctrl-C that reaches all processes: a traceback, half a world, a writer that stays."""
    root = Path(config.output) / "static"
    line = [sys.executable, str(REPOSITORY / "scripts/nano.py"), "clips", "worlds=400"]
    line += [f"output={config.output}", f"checkpoint_dir={config.checkpoint_dir}", "workers=2"]
    line += ["worlds_at_once=2"]
    done = interrupt(line, REPOSITORY, root / "5" / "meta" / "world_000001.json")
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert "told to stop (SIGINT)" in done.stderr.splitlines()[-1]
    worlds = [{path.stem for path in (root / name / "meta").iterdir()} for name in MULTI]
    assert 2 <= len(worlds[0]) < 400 and all(names == worlds[0] for names in worlds)
    assert not [path for path in root.rglob(".*") if path.is_file()]


def test_depth_alternates_and_distances_vary(config: ClipsConfig) -> None:
    """One kind of depth for all worlds of a mixed run; a spread that does nothing."""
    maker, varied = ClipMaker(config), ClipMaker(replace(config, spread=0.5))
    seeds = config.seeds
    scenes = [scene for _, scene in maker._scenes(seeds, build_worlds(seeds))]
    assert [scene.record["depth"] for scene in scenes] == ["nano", "truth"]
    distances: list[Sequence[float]] = []
    for each in (maker, varied):
        plans = each._plans(1, scenes[1])
        distances.append([float(plan.rig.w2c[-1, :3, 3].norm()) for plan in plans])
    ratios = torch.tensor(distances[1]) / torch.tensor(distances[0])
    assert (ratios - 1).abs().max() > 0.05 and ((ratios > 0.49) & (ratios < 1.51)).all()
    assert torch.equal(invert_rigid(scenes[0].rig.w2c[0]), torch.eye(4))


def test_settings_that_contradict_each_other() -> None:
    """The truth seen by cameras of another unit; a key that is silently ignored."""
    with pytest.raises(InputError, match="depth=truth"):
        load_clips_config(["targets=truth"])
    with pytest.raises(InputError, match="worlds"):
        load_clips_config(["worlds=0"])
    with pytest.raises(InputError, match="first_seed"):
        load_clips_config(["first_sed=3"])
    assert load_clips_config(["dynamic=true", "worlds=2"]).seeds == range(100_000, 100_002)
    assert clip_maker._key(3) == "world_000003"
