"""A whole run: clips on disk of every scene along every trajectory.

The processes of a launch exchange nothing, unless they sample clips in teams: each takes its share
of the shots, scene by scene, and makes those that are not finished. Networks are loaded once, and
the parts that the shots of a scene share are computed once.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import groupby

import torch
from tqdm import tqdm

from src.checkpoints import find_checkpoint
from src.io.depth_file import SUFFIXES
from src.io.locks import HeldError, clip_lock
from src.runtime import InputError, get_logger, rank
from src.tokenizer.loading import load_statistics

from .clips import Clips, Job
from .config import ClipSettings, SdgConfig, clip_settings, with_weights
from .fitting import fit_memory
from .model.architecture import TransformerConfig, read_config
from .outputs import WriteError
from .preparation import InputReader, Prompts, ScenePreparation, load_depth, make_pictures
from .sampling.pipeline import load_gen3c
from .sampling.recipe import SamplingPlan
from .sampling.rollout import PreparedScene, roll_out
from .sampling.team import Team, check_shares, join_team
from .scenes.inputs import SceneInput, check_input, scene_inputs
from .scenes.shots import list_shots, shot_rig, shot_spec
from .writing import WritingThread, writing_thread

LOGGER = get_logger(__name__)


def run(config: SdgConfig) -> None:
    """Make the missing clips of this process' share.

    A scene that fails is reported at the end and stops no other. The run waits for clips that
    another run is writing.

    Raises:
        InputError: wrong input, most of it before any network is loaded; or, at the end, the scenes
            that failed and the clips that somebody removed meanwhile.
    """
    network, settings = _settings(config)
    check_shares(config.hardware, network, settings)
    config = with_weights(config, network)
    with join_team(config.hardware) as team:
        if team is None or team.leads:
            _make_share(config, network, settings, team)
        else:
            team.follow(lambda: load_gen3c(fit_memory(config, network, settings, [])))


def _make_share(
    config: SdgConfig, network: TransformerConfig, settings: ClipSettings, team: Team | None
) -> None:
    """Make the missing clips of this process, or of its team; raises as `run`."""
    scenes = _checked_scenes(config, network, settings)
    shots = list_shots(config.cameras)
    jobs = [Job(scene, shot) for scene in scenes for shot in shots]
    teams = int(os.environ.get("WORLD_SIZE", "1")) // config.hardware.processes_per_clip
    mine = share(jobs, rank() // config.hardware.processes_per_clip, teams)
    if teams > len(jobs):
        LOGGER.info("no clip for %d processes; --context_parallel shares one", teams - len(jobs))
    clips = Clips(config, settings)
    failures = _unusable(clips, mine)
    mine = [job for job in mine if job.scene.key not in failures]
    missing = clips.missing(mine)
    LOGGER.info(
        "%d scenes, %d trajectories each; %d of %d clips of this process are missing",
        len(scenes),
        len(shots),
        len(missing),
        len(mine),
    )
    missing = clips.without_held(missing)
    if missing:
        for job, error in _load_and_make(clips, network, missing, team):
            failures.setdefault(job.scene.key, []).append(error)
    _report(config, failures)
    gone = clips.missing(mine)
    if gone:
        value = f"{len(gone)} clips that were written are gone"
        raise InputError(clips.files(gone[0]).paths[0].meta, value, "clips that nobody removes")


def share(jobs: Sequence[Job], index: int, processes: int) -> Sequence[Job]:
    """Returns the jobs of one process; consecutive ones, so that few processes share a scene."""
    bounds = [len(jobs) * number // processes for number in (index, index + 1)]
    return jobs[bounds[0] : bounds[1]]


def _settings(config: SdgConfig) -> tuple[TransformerConfig, ClipSettings]:
    """Returns the configuration of the weights and the settings of all clips; reads no weights."""
    network = read_config(find_checkpoint("generator", config.checkpoint_dir))
    folder = find_checkpoint("tokenizer", config.checkpoint_dir)
    covered = load_statistics(folder).max_latent_frames
    settings = clip_settings(
        config.sampling,
        network,
        max_latent_frames=covered,
        moving=config.moving,
        speed=config.speed,
    )
    LOGGER.info(
        "--speed %s: %d noise levels, guidance %g, %s",
        config.speed.speed,
        len(settings.shortcuts.levels(settings.num_steps)) - 1,
        settings.guidance,
        settings.shortcuts,
    )
    return network, settings


def _checked_scenes(
    config: SdgConfig, network: TransformerConfig, settings: ClipSettings
) -> list[SceneInput]:
    """Returns the scenes of the run; checks the flags that concern them."""
    scenes = scene_inputs(config.inputs, config.moving)
    depth = config.inputs.depth
    if settings.pieces > 1 and not config.moving and depth.lower().endswith(SUFFIXES):
        expected = f"a backend by name for more than {settings.piece_frames} frames"
        raise InputError("--depth", depth, expected)
    if network.sampling.text_encoder != "none":
        return scenes
    prompted = [scene for scene in scenes if scene.prompt and scene.path is not None]
    if prompted:
        expected = "no prompt beside a picture: these weights were trained without a text encoder"
        raise InputError("--prompt", repr(prompted[0].prompt), expected)
    return scenes


def _unusable(clips: Clips, jobs: Sequence[Job]) -> dict[str, list[InputError]]:
    """Returns the errors of unusable inputs by scene, as far as headers show them."""
    config, failures = clips.config, dict[str, list[InputError]]()
    for scene in {job.scene.key: job.scene for job in jobs}.values():
        try:
            if scene.path is not None:
                check_input(scene.path, config.inputs, config.moving)
            clips.origin(scene)
        except InputError as error:
            LOGGER.error("no clips of %s: %s", scene.key, error)
            failures[scene.key] = [error]
    return failures


def _load_and_make(
    clips: Clips, network: TransformerConfig, missing: Sequence[Job], team: Team | None
) -> list[tuple[Job, InputError]]:
    """Load the networks and make the clips; returns the failures."""
    config = fit_memory(clips.config, network, clips.settings, [job.scene for job in missing])
    # The smaller networks first, so that a missing one is reported early.
    depth = load_depth(config, [job.scene for job in missing])
    pictured = make_pictures(config, clips.settings, [job.scene for job in missing])
    missing = [replace(job, scene=scene) for job, scene in zip(missing, pictured, strict=True)]
    prompts = Prompts(config, network)
    prompts(missing[0].scene.prompt)
    reader = InputReader(config, clips.settings, network, depth)
    # Before there is a second thread: two that import one package may wait for each other.
    from diffusers import CosmosTransformer3DModel  # noqa: F401

    reader.begin(missing[0].scene)
    if team is not None:
        team.begin()
    generator = load_gen3c(config)
    if team is not None:
        team.share(generator)
    prepare = ScenePreparation(reader, generator=generator, prompts=prompts)
    with torch.inference_mode(), writing_thread() as writer:
        failures, held = _make(clips, prepare, missing, writer=writer)
        if held:
            # The other run had the time of all other clips to finish these.
            more, _ = _make(clips, prepare, held, writer=writer, wait=True)
            failures += more
    return failures + writer.failures


def _make(
    clips: Clips,
    prepare: ScenePreparation,
    jobs: Sequence[Job],
    *,
    writer: WritingThread,
    wait: bool = False,
) -> tuple[list[tuple[Job, InputError]], list[Job]]:
    """Make the clips of `jobs`; returns the failures, and the jobs that another run is writing.

    With `wait`, those are waited for.
    """
    failures: list[tuple[Job, InputError]] = []
    held: list[Job] = []
    with tqdm(total=len(jobs), desc="trajectories", disable=rank() != 0) as bar:
        for _, members in groupby(jobs, key=lambda job: job.group):
            group = list(members)
            try:
                prepared = prepare(group[0].scene, group[0].shot.backwards)
            except InputError as error:
                LOGGER.error("no clips of %s: %s", group[0].scene.key, error)
                failures.append((group[0], error))
                bar.update(len(group))
                continue
            for job in group:
                try:
                    _make_clip(clips, prepare, prepared, writer, job=job, wait=wait)
                except WriteError:
                    raise
                except HeldError:
                    held.append(job)
                except InputError as error:
                    LOGGER.error("no clip of %s: %s", job.scene.key, error)
                    failures.append((job, error))
                bar.update()
    return failures, held


def _make_clip(
    clips: Clips,
    prepare: ScenePreparation,
    prepared: PreparedScene,
    writer: WritingThread,
    *,
    job: Job,
    wait: bool,
) -> None:
    """Generate the clip of one shot; its pieces are written beside what comes next."""
    config, settings = clips.config, clips.settings
    files, scene, drawn = clips.files(job), prepared.scene, clips.drawn(job)
    spec = shot_spec(job.shot, config.cameras, drawn)
    meta = clips.meta(job, scene.record)
    plan = SamplingPlan(
        num_steps=settings.num_steps,
        guidance=settings.guidance,
        fps=scene.fps,
        seeds=(drawn.seed,),
        published_noise=config.sampling.published_draws,
        shortcuts=settings.shortcuts,
    )
    steps, forwards = (len(plan.levels) - 1) * settings.pieces, 0
    title = f"{files.key} {job.shot.folder}".strip()
    lock, start = ExitStack(), time.perf_counter()
    lock.enter_context(clip_lock(files.paths[0], wait))
    try:
        if clips.is_finished(job):
            # Another run finished it after this one had looked.
            return
        with tqdm(total=steps, desc=title, disable=rank() != 0, leave=False) as bar:
            rolled = roll_out(
                prepare.generator,
                prepared,
                rig=shot_rig(spec, scene.rig, height=settings.height, width=settings.width),
                settings=settings,
                plan=plan,
                noise_aug_strength=config.sampling.noise_aug_strength,
                progress=lambda _step, _state: (bar.update(), writer.collect()),
            )
            for index, piece in enumerate(rolled):
                if config.save_buffer:
                    buffer = partial(files.write_buffer, index, piece.buffer, scene.fps)
                    writer.add(job, buffer)
                made = {"piece": index, "forwards": piece.piece.forwards}
                forwards += piece.piece.forwards
                clip = files.clip(piece, scene.fps, meta=meta | made)
                with prepare.generator.clock("wait"):
                    writer.add(job, partial(files.write, index, clip))
        LOGGER.info("%s: %d forwards, --speed %s", title, forwards, config.speed.speed)
        parts = prepare.generator.clock.take() | {"all": time.perf_counter() - start}
        times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
        LOGGER.info("%s: seconds of %s; it is written beside the next", title, times)
    finally:
        # After the last piece has been written.
        writer.add(job, lock.close)


def _report(config: SdgConfig, failures: Mapping[str, Sequence[InputError]]) -> None:
    """Raise an `InputError` that lists the scenes that failed, one in each line, if any did."""
    if not failures:
        return
    reasons = [
        f"{key}: {error}"
        for key, errors in failures.items()
        for error in dict.fromkeys(map(str, errors))
    ]
    listed = "".join(f"\n  {reason}" for reason in reasons)
    raise InputError(config.output, f"{len(failures)} scenes without all clips", f"none:{listed}")
