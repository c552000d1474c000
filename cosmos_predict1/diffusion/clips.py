"""The jobs of a run and their clips on disk: finished, missing, or being written by another run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from src.io.locks import HeldError, clip_lock, remove_stale_clip_lock
from src.runtime import get_logger

from .config import ClipSettings, SdgConfig
from .origins import Origins
from .outputs import ShotFiles
from .preparation import is_filmed
from .scenes.inputs import SceneInput
from .scenes.shots import Draw, Shot, describe, draw, published_draw, shot_spec

LOGGER = get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """One shot of one scene."""

    scene: SceneInput
    shot: Shot

    @property
    def group(self) -> tuple[str, bool]:
        """The key of the jobs that share everything but the cameras."""
        return self.scene.key, self.shot.backwards


@dataclass(frozen=True)
class Clips:
    """The clips of a run on disk."""

    config: SdgConfig
    settings: ClipSettings
    origins: Origins

    def files(self, job: Job) -> ShotFiles:
        """The files of a job's clips."""
        return ShotFiles(
            root=self.config.output,
            shot=job.shot,
            key=job.scene.key,
            pieces=self.settings.pieces,
        )

    def drawn(self, job: Job) -> Draw:
        """The random draw of a job's shot."""
        sampling = self.config.sampling
        if sampling.published_draws:
            return published_draw(sampling.seed)
        return draw(sampling.seed, job.scene.key, job.shot.folder)

    def record(self, job: Job) -> dict[str, object]:
        """The inputs, weights and flags of a clip, which a later run has to agree with."""
        config = self.config
        chosen: dict[str, object] = {
            **asdict(self.settings),
            **asdict(config.cache),
            "seed": config.sampling.seed,
            "resize": config.inputs.resize,
            "start": config.inputs.start,
        }
        if config.moving and not is_filmed(job.scene, config):
            chosen["center_depth_quantile"] = config.inputs.center_depth_quantile
        if config.sampling.published_draws:
            chosen["published_draws"] = True
        return {
            "settings": chosen,
            "trajectory": describe(shot_spec(job.shot, config.cameras, self.drawn(job))),
            "prompt": job.scene.prompt,
            "negative_prompt": config.sampling.negative_prompt,
            "made_from": self.origins.of(job.scene),
        }

    def is_finished(self, job: Job) -> bool:
        """Whether the clips of a job are there; raises as `ShotFiles.is_finished`."""
        return self.files(job).is_finished(self.record(job), self.config.overwrite)

    def missing(self, jobs: Sequence[Job]) -> list[Job]:
        """Returns the jobs without finished clips; removes stale locks of the others."""
        missing = []
        for job in jobs:
            if not self.is_finished(job):
                missing.append(job)
            else:
                remove_stale_clip_lock(self.files(job).paths[0])
        return missing

    def without_held(self, missing: list[Job]) -> list[Job]:
        """Wait while other runs write all of the missing clips; returns the jobs still missing.

        A run that has nothing to do in the meantime need not load the networks.
        """
        while missing and all(self._is_held(job) for job in missing):
            LOGGER.info("another run writes what is missing; waiting for it")
            with clip_lock(self.files(missing[0]).paths[0], wait=True):
                pass
            missing = self.missing(missing)
        return missing

    def _is_held(self, job: Job) -> bool:
        try:
            with clip_lock(self.files(job).paths[0]):
                return False
        except HeldError:
            return True
