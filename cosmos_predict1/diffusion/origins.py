"""The origins of a scene's clips: digests of the input, the weights and the files of flags.

A clip keeps this record in its metadata; a later run takes the clip for finished only if its own
record is the same.
"""

from functools import cached_property
from pathlib import Path

from src.checkpoints import NANO_ASSETS, PLACES, find_checkpoint, search_checkpoint
from src.depth.backends.choice import named_depth
from src.depth.backends.video import named_video_depth
from src.io.depth_file import SUFFIXES
from src.io.records import content_digest, weights_digest

from .config import SdgConfig
from .preparation import is_filmed
from .scenes.inputs import SceneInput
from .scenes.posed_video import video_kind

# Folders of a ViPE result beside `rgb/<clip>.mp4`.
VIPE_PARTS = ("depth", "pose", "intrinsics", "mask")
# Names in search_checkpoint of the weights of depth backends, where they differ.
PARTS = {"nano": "depth"}


class Origins:
    """The records of a run's scenes, each made once, at the first request."""

    def __init__(self, config: SdgConfig) -> None:
        self._config = config
        self._inputs: dict[str, dict[str, str]] = {}

    def of(self, scene: SceneInput) -> dict[str, object]:
        """Returns the record of a scene.

        Raises:
            InputError: a file that cannot be read, weights that are not there.
        """
        return {"input": self.check(scene), **self._shared}

    def check(self, scene: SceneInput) -> dict[str, str]:
        """Returns the scene's own part of the record; `InputError` for an unreadable file."""
        if scene.key not in self._inputs:
            self._inputs[scene.key] = self._input(scene)
        return self._inputs[scene.key]

    def _input(self, scene: SceneInput) -> dict[str, str]:
        config, path = self._config, scene.path
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
        roots = [self._config.checkpoint_dir, *([NANO_ASSETS] if name == "nano" else [])]
        part = PARTS.get(name, name)
        # An unknown name is refused where the network is loaded.
        weights = search_checkpoint(part, *roots) if part in PLACES else None
        digest = "of the hub" if weights is None else weights_digest(weights)
        return {"depth": name, "depth_weights": digest}

    @cached_property
    def _shared(self) -> dict[str, object]:
        """The part of the record that all scenes of a run share."""
        folder, file = self._config.checkpoint_dir, self._config.cameras.file
        found: dict[str, object] = {
            part: weights_digest(find_checkpoint(part, folder))
            for part in ("generator", "tokenizer")
        }
        found["prompts_encoded"] = not self._config.hardware.disable_text_encoder
        found["rope_precision"] = self._config.hardware.rope_precision
        found["noise_aug_strength"] = self._config.sampling.noise_aug_strength
        if file is not None:
            found["trajectory_file"] = content_digest(file)
        return found
