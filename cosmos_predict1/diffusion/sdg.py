"""A whole run: every scene along every trajectory, as clips on disk.

The processes of a launch exchange nothing: each takes its share of the shots, scene by scene, and
only those that are not finished. Networks are loaded once; what the shots of a scene have in common
is computed once.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby
from typing import NoReturn

import torch
from tqdm import tqdm

from src import __version__
from src.checkpoints import find_checkpoint
from src.io.depth_file import SUFFIXES
from src.runtime import InputError, get_logger, rank
from src.tokenizer.loading import load_statistics

from .architecture import TransformerConfig, read_config
from .config import ClipSettings, SdgConfig, clip_settings, with_weights
from .inputs import SceneInput, scene_inputs
from .locks import clip_lock
from .outputs import ShotFiles, WriteError
from .pipeline import SamplingPlan, load_gen3c
from .preparation import Depths, Prompts, ScenePreparation, is_filmed, make_pictures
from .rollout import PreparedScene, roll_out
from .shots import Shot, describe, draw, list_shots, shot_rig, shot_spec

LOGGER = get_logger(__name__)
LIBRARIES = ("torch", "diffusers")


@dataclass(frozen=True)
class Job:
    """One shot of one scene."""

    scene: SceneInput
    shot: Shot

    @property
    def group(self) -> tuple[str, bool]:
        """Jobs of one group share everything but the cameras."""
        return self.scene.key, self.shot.backwards


def run(config: SdgConfig) -> None:
    """Make all clips that are not finished, of this process' share.

    A scene that fails is reported, the others are made all the same.

    Raises:
        InputError: whatever a user gave wrongly, most of it before any network is loaded; or, at
            the end, the scenes that failed.
    """
    network, settings = _settings(config)
    config = with_weights(config, network)
    scenes = _checked_scenes(config, network, settings)
    shots = list_shots(config.cameras)
    jobs = [Job(scene, shot) for scene in scenes for shot in shots]
    mine = share(jobs, rank(), int(os.environ.get("WORLD_SIZE", "1")))
    missing = [job for job in mine if not _is_finished(config, settings, job)]
    LOGGER.info(
        "%d scenes, %d trajectories each; %d of %d clips of this process are missing",
        *(len(scenes), len(shots), len(missing), len(mine)),
    )
    if not missing:
        return
    for job in missing:
        # Another run on this folder shows here, before anything is loaded.
        with clip_lock(_files(config, settings, job).paths[0]):
            pass
    # A depth network, or a text encoder, that is missing shows before larger networks are loaded.
    depths = Depths(config)
    depths.load([job.scene for job in missing])
    pictured = make_pictures(config, settings, [job.scene for job in missing])
    missing = [replace(job, scene=scene) for job, scene in zip(missing, pictured, strict=True)]
    prompts = Prompts(config, network)
    prompts(missing[0].scene.prompt)
    generator = load_gen3c(config)
    prepare = ScenePreparation(config, settings, generator, prompts, depths)
    with torch.inference_mode():
        failures = list(_make(prepare, missing))
    if failures:
        summary = "; ".join(dict.fromkeys(str(failure) for failure in failures))
        raise InputError(config.output, f"{len(failures)} failures", f"none: {summary}")


def share(jobs: Sequence[Job], index: int, processes: int) -> Sequence[Job]:
    """The jobs of one process: consecutive ones, so that few processes prepare the same scene."""
    bounds = [len(jobs) * number // processes for number in (index, index + 1)]
    return jobs[bounds[0] : bounds[1]]


def _settings(config: SdgConfig) -> tuple[TransformerConfig, ClipSettings]:
    """The configuration of the weights and the settings of all clips, no weights read yet."""
    network = read_config(find_checkpoint("generator", config.checkpoint_dir))
    folder = find_checkpoint("tokenizer", config.checkpoint_dir)
    covered = load_statistics(folder).max_latent_frames
    return network, clip_settings(config.sampling, network, covered, config.moving)


def _checked_scenes(
    config: SdgConfig, network: TransformerConfig, settings: ClipSettings
) -> list[SceneInput]:
    """The scenes of the run, as far as they can be checked without reading them."""
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


def _make(prepare: ScenePreparation, jobs: Sequence[Job]) -> Iterator[InputError]:
    """Make the clips of `jobs`; yields what went wrong with a scene."""
    with tqdm(total=len(jobs), desc="trajectories", disable=rank() != 0) as bar:
        for _, members in groupby(jobs, key=lambda job: job.group):
            group = list(members)
            try:
                prepared = prepare(group[0].scene, group[0].shot.backwards)
            except InputError as error:
                LOGGER.error("no clips of %s: %s", group[0].scene.key, error)
                yield error
                bar.update(len(group))
                continue
            for job in group:
                try:
                    _make_clip(prepare, prepared, job)
                except WriteError:
                    raise
                except InputError as error:
                    LOGGER.error("no clip of %s: %s", job.scene.key, error)
                    yield error
                bar.update()


def _make_clip(prepare: ScenePreparation, prepared: PreparedScene, job: Job) -> None:
    """Generate the clip of one shot and write it, piece by piece."""
    config, settings = prepare.config, prepare.settings
    files, scene = _files(config, settings, job), prepared.scene
    drawn = draw(config.sampling.seed, job.scene.key, job.shot.folder)
    spec = shot_spec(job.shot, config.cameras, drawn)
    rig = shot_rig(spec, scene.rig, settings.height, settings.width)
    meta = _record(config, settings, job) | scene.record | _provenance(job, drawn.seed)
    plan = SamplingPlan(settings.num_steps, settings.guidance, scene.fps, drawn.seed)
    steps = settings.num_steps * settings.pieces
    title = f"{files.key} {job.shot.folder}".strip()
    with (
        clip_lock(files.paths[0]),
        tqdm(total=steps, desc=title, disable=rank() != 0, leave=False) as bar,
    ):
        if _is_finished(config, settings, job):
            # By another run, after this one had looked.
            return
        rolled = roll_out(
            prepare.generator,
            prepared,
            rig,
            settings,
            plan,
            config.sampling.noise_aug_strength,
            lambda _step, _state: _advance(bar),
        )
        for index, piece in enumerate(rolled):
            if config.save_buffer:
                files.write_buffer(index, piece.buffer, scene.fps)
            files.write(index, piece, scene.fps, meta | {"piece": index})


def _advance(bar: "tqdm[NoReturn]") -> None:
    bar.update()


def _record(config: SdgConfig, settings: ClipSettings, job: Job) -> dict[str, object]:
    """What the flags decide about a clip, and what a later run has to agree with."""
    drawn = draw(config.sampling.seed, job.scene.key, job.shot.folder)
    chosen: dict[str, object] = {
        **asdict(settings),
        **asdict(config.cache),
        "seed": config.sampling.seed,
        "resize": config.inputs.resize,
        "start": config.inputs.start,
    }
    if config.moving and not is_filmed(job.scene, config):
        chosen["center_depth_quantile"] = config.inputs.center_depth_quantile
    return {
        "settings": chosen,
        "trajectory": describe(shot_spec(job.shot, config.cameras, drawn)),
        "prompt": job.scene.prompt,
        "negative_prompt": config.sampling.negative_prompt,
    }


def _provenance(job: Job, seed: int) -> dict[str, object]:
    """What else is worth knowing about a clip."""
    return {
        "seed": seed,
        "input": str(job.scene.path),
        "backwards": job.shot.backwards,
        "versions": {"open-lyra": __version__} | {name: version(name) for name in LIBRARIES},
    }


def _files(config: SdgConfig, settings: ClipSettings, job: Job) -> ShotFiles:
    return ShotFiles(config.output, job.shot, job.scene.key, settings.pieces)


def _is_finished(config: SdgConfig, settings: ClipSettings, job: Job) -> bool:
    return _files(config, settings, job).is_finished(_record(config, settings, job))
