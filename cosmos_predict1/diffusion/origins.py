"""What the clips of a scene are made from: digests of the input, of the weights, of files of flags.

A clip keeps this record in its metadata; a later run takes the clip for finished only where its own
record is the same.
"""

from functools import cached_property
from pathlib import Path

from src.checkpoints import NANO_ASSETS, PLACES, find_checkpoint, search_checkpoint
from src.depth.backends.choice import named_depth
from src.depth.backends.video import named_video_depth
from src.io.depth_file import SUFFIXES
from src.io.records.digest import content_digest, weights_digest

from .config import SdgConfig
from .preparation import is_filmed
from .scenes.inputs import SceneInput
from .scenes.scene import video_kind

# Of a ViPE result, beside `rgb/<clip>.mp4`.
VIPE_PARTS = ("depth", "pose", "intrinsics", "mask")
# What search_checkpoint calls the weights of a depth backend, where it is not the backend's name.
PARTS = {"nano": "depth"}


class Origins:
    """The records of a run's scenes, each made once, when it is first asked for."""

    def __init__(self, config: SdgConfig) -> None:
        self._config = config
        self._inputs: dict[str, dict[str, str]] = {}

    def of(self, scene: SceneInput) -> dict[str, object]:
        """What the clips of a scene are made from.

        Raises:
            InputError: a file that cannot be read, weights that are not there.
        """
        return {"input": self.check(scene), **self._shared}

    def check(self, scene: SceneInput) -> dict[str, str]:
        """What of it is the scene's own; `InputError` for a file that cannot be read."""
        if scene.key not in self._inputs:
            self._inputs[scene.key] = self._input(scene)
        return self._inputs[scene.key]

    def _input(self, scene: SceneInput) -> dict[str, str]:
        if scene.path is None:
            # The prompt stands beside this record; the picture follows from it and the seed.
            return {"picture_from": self._config.inputs.text_to_image_model}
        path, inputs = scene.path, self._config.inputs
        found = {"content": content_digest(path)}
        if self._config.moving and path.is_file() and video_kind(path) == "vipe":
            for part in VIPE_PARTS:
                for beside in sorted((path.parent.parent / part).glob("*")):
                    if beside.stem == path.stem:
                        found[part] = content_digest(beside)
        if not self._config.moving:
            return found | self._depth(named_depth(inputs.depth, self._config.checkpoint_dir))
        if is_filmed(scene, self._config):
            return found | self._depth(named_video_depth(inputs.depth, self._config.checkpoint_dir))
        return found

    def _depth(self, name: str) -> dict[str, str]:
        """Where depth comes from: a file, or a network."""
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
        """What all scenes of a run are made from alike."""
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
