"""The jobs of a run and their clips on disk: finished, missing, or being written by another run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from src import __version__
from src.checkpoints import NANO_ASSETS, PLACES, find_checkpoint, search_checkpoint
from src.depth.backends.choice import named_depth
from src.depth.backends.video import named_video_depth
from src.io.depth_file import SUFFIXES
from src.io.locks import HeldError, clip_lock, remove_stale_clip_lock
from src.io.records import content_digest, weights_digest
from src.runtime import get_logger

from .config import ClipSettings, SdgConfig
from .outputs import ShotFiles
from .preparation import is_filmed
from .scenes.inputs import SceneInput
from .scenes.posed_video import video_kind
from .scenes.shots import Draw, Shot, describe, draw, published_draw, shot_spec

LOGGER = get_logger(__name__)
# Folders of a ViPE result beside `rgb/<clip>.mp4`.
VIPE_PARTS = ("depth", "pose", "intrinsics", "mask")
# Names in search_checkpoint of the weights of depth backends, where they differ.
PARTS = {"nano": "depth"}
LIBRARIES = ("torch", "diffusers")


@dataclass(frozen=True)
class Job:
    """One shot of one scene."""

    scene: SceneInput
    shot: Shot

    @property
    def group(self) -> tuple[str, bool]:
        """The key of the jobs that share everything but the cameras."""
        return self.scene.key, self.shot.backwards


class Clips:
    """The clips of a run on disk.

    A clip keeps a record of its input, weights and flags in its metadata; a later run takes it for
    finished only if its own record is the same.
    """

    def __init__(self, config: SdgConfig, settings: ClipSettings) -> None:
        self.config, self.settings = config, settings
        self._origins: dict[str, dict[str, str]] = {}

    def origin(self, scene: SceneInput) -> dict[str, str]:
        """Returns digests of the input and depth; `InputError` for files that cannot be read."""
        if scene.key not in self._origins:
            self._origins[scene.key] = self._input(scene)
        return self._origins[scene.key]

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
        """The inputs, weights and flags of a clip; raises as `origin`, and for missing weights."""
        config = self.config
        chosen: dict[str, object] = {
            **self.settings.record,
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
            "made_from": {"input": self.origin(job.scene), **self._shared},
        }

    def meta(self, job: Job, scene: Mapping[str, object]) -> dict[str, object]:
        """The metadata of a job's clips; `scene` is the record of its scene."""
        return {
            **self.record(job),
            **scene,
            "seed": self.drawn(job).seed,
            "input": str(job.scene.path),
            "backwards": job.shot.backwards,
            "versions": {"open-lyra": __version__} | {name: version(name) for name in LIBRARIES},
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

    def _input(self, scene: SceneInput) -> dict[str, str]:
        config, path = self.config, scene.path
        if path is None:
            # The picture follows from this, the seed and the prompt, which has its own entry.
            return {"picture_from": config.inputs.text_to_image_model}
        found = {"content": content_digest(path)}
        if config.moving and path.is_file() and video_kind(path) == "vipe":
            for part in VIPE_PARTS:
                for beside in sorted((path.parent.parent / part).glob("*")):
                    if beside.stem == path.stem:
                        found[part] = content_digest(beside)
        if not config.moving:
            return found | self._depth(named_depth(config.inputs.depth, config.checkpoint_dir))
        if is_filmed(scene, config):
            name = named_video_depth(config.inputs.depth, config.checkpoint_dir)
            return found | self._depth(name)
        return found

    def _depth(self, name: str) -> dict[str, str]:
        """Returns the record of a depth file or of a depth network."""
        if Path(name).suffix.lower() in SUFFIXES:
            return {"depth": content_digest(Path(name).expanduser())}
        roots = [self.config.checkpoint_dir, *([NANO_ASSETS] if name == "nano" else [])]
        part = PARTS.get(name, name)
        # An unknown name is refused where the network is loaded.
        weights = search_checkpoint(part, *roots) if part in PLACES else None
        digest = "of the hub" if weights is None else weights_digest(weights)
        return {"depth": name, "depth_weights": digest}

    @cached_property
    def _shared(self) -> dict[str, object]:
        """The part of the record that all scenes of a run share."""
        folder, file = self.config.checkpoint_dir, self.config.cameras.file
        found: dict[str, object] = {
            part: weights_digest(find_checkpoint(part, folder))
            for part in ("generator", "tokenizer")
        }
        found["prompts_encoded"] = not self.config.hardware.disable_text_encoder
        found["rope_precision"] = self.config.hardware.rope_precision
        if self.config.hardware.precision == "fp8":
            found["precision"] = "fp8"
        found["noise_aug_strength"] = self.config.sampling.noise_aug_strength
        if file is not None:
            found["trajectory_file"] = content_digest(file)
        return found
