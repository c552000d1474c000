"""What the shots of a scene have in common, computed once: depth, points, text, first frame."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from src.depth.backends.choice import DepthBackend, resolve_depth
from src.depth.backends.video import VideoDepthBackend, resolve_video_depth
from src.io.image.image import read_image, write_png
from src.io.locks import process_lock

from .conditioning.cache import PointCache
from .config import ClipSettings, SdgConfig
from .model.architecture import TransformerConfig
from .model.text import PromptEncoder, prompt_contexts
from .outputs import beside
from .sampling.pipeline import Gen3C
from .sampling.recipe import Context
from .sampling.rollout import PreparedScene
from .scenes.inputs import SceneInput
from .scenes.scene import (
    Center,
    Scene,
    SceneSize,
    filmed_scene,
    posed_scene,
    still_scene,
    to_device,
    video_kind,
)
from .scenes.shots import draw, file_intrinsics
from .scenes.text_to_image import TextToImage

ONE_PAINTER = "one process that makes the picture of a prompt"


class Prompts:
    """The contexts of prompts, those of the latest one kept; loads T5 when one needs it."""

    def __init__(self, config: SdgConfig, network: TransformerConfig) -> None:
        self._network, self._negative = network, config.sampling.negative_prompt
        hardware = config.hardware
        self._encoder: PromptEncoder | None = None
        if not hardware.disable_text_encoder:
            offload = hardware.offload_text_encoder
            self._encoder = PromptEncoder(config.checkpoint_dir, hardware.device, offload)
        self._latest: tuple[str, tuple[Context, Context]] | None = None

    def __call__(self, prompt: str) -> tuple[Context, Context]:
        """The context of the prompt, and that of what the clips do not show.

        Raises:
            InputError: a text encoder is needed and not there, or cannot be read.
        """
        if self._network.sampling.text_encoder == "none":
            # Of such weights only prompts without a picture come here: they have made one.
            prompt = ""
        if self._latest is None or self._latest[0] != prompt:
            texts = prompt_contexts(self._network, self._encoder, prompt, self._negative)
            self._latest = (prompt, texts)
        return self._latest[1]


class Depths:
    """The run's depth backend, for pictures or for videos, loaded once."""

    def __init__(self, config: SdgConfig) -> None:
        self._config = config
        # The backend's name, the folder of its weights, its device.
        self._wanted = (config.inputs.depth, config.checkpoint_dir, config.hardware.device)

    def load(self, scenes: Sequence[SceneInput]) -> None:
        """Load what the scenes need; input that brings its own depth needs nothing.

        Raises:
            InputError: an unknown backend, one that is not installed, weights that are missing.
        """
        if not self._config.moving:
            _ = self.still
        elif any(is_filmed(scene, self._config) for scene in scenes):
            _ = self.video

    @cached_property
    def still(self) -> DepthBackend:
        """Depth of pictures."""
        return resolve_depth(*self._wanted)

    @cached_property
    def video(self) -> VideoDepthBackend:
        """Depth of plain videos."""
        return resolve_video_depth(*self._wanted)


def is_filmed(scene: SceneInput, config: SdgConfig) -> bool:
    """Whether the scene is a plain video, whose depth has to be estimated."""
    if not config.moving or config.inputs.vipe is not None or scene.path is None:
        return False
    return video_kind(scene.path) == "video"


class ScenePreparation:
    """Prepares scenes for a generator."""

    def __init__(
        self,
        config: SdgConfig,
        settings: ClipSettings,
        generator: Gen3C,
        prompts: Prompts,
        depths: Depths,
    ) -> None:
        self.config, self.settings, self.generator = config, settings, generator
        self.prompts, self.depths = prompts, depths
        self._latest: tuple[str, Scene] | None = None

    def __call__(self, source: SceneInput, backwards: bool = False) -> PreparedScene:
        """The scene of an input, or what it looks like backwards.

        Raises:
            InputError: what is read is missing, damaged or does not fit.
        """
        if self._latest is None or self._latest[0] != source.key:
            # The earlier scene's points need not stay while the next ones are made.
            self._latest = None
            self._latest = (source.key, to_device(self._read(source), self.generator.device))
        scene = self._latest[1].backwards() if backwards else self._latest[1]
        buffers = min(self.config.cache.buffers, self.generator.max_buffers)
        cache = PointCache(
            scene.sources, replace(self.config.cache, buffers=buffers), moving=scene.moving
        )
        first = self.generator.first_latent(scene.first_frame)
        follow_up = self.settings.pieces > 1 and not scene.moving
        backend = self.depths.still if follow_up else None
        return PreparedScene(scene, cache, first, self.prompts(source.prompt), backend)

    def _read(self, source: SceneInput) -> Scene:
        """The scene of a picture or a video."""
        config, settings = self.config, self.settings
        path, inputs = source.path, config.inputs
        assert path is not None, f"no picture for {source.key}"
        size = SceneSize(settings.height, settings.width, settings.num_frames, inputs.resize)
        default_fps = self.generator.network.config.sampling.fps
        if not config.moving:
            fps = default_fps if settings.fps is None else settings.fps
            return still_scene(read_image(path), self.depths.still, size, fps, self._lens)
        if is_filmed(source, config):
            return filmed_scene(path, self.depths.video, size, inputs.start, settings.fps)
        center: Center = "all" if inputs.published_invalid_depth else "known"
        center = center if inputs.center_depth_quantile else "one"
        return posed_scene(path, size, inputs.start, settings.fps, default_fps, center)

    @property
    def _lens(self) -> Float[Tensor, "4"] | None:
        file = self.config.cameras.file
        return None if file is None else file_intrinsics(file, *self._size)

    @property
    def _size(self) -> tuple[int, int]:
        return self.settings.height, self.settings.width


def make_pictures(
    config: SdgConfig, settings: ClipSettings, scenes: Sequence[SceneInput]
) -> Iterator[SceneInput]:
    """The scenes, those of a prompt alone with a picture, which is made and kept where missing.

    Pictures lie beside the output, in `<output>_images/<key>.png`. The first process that wants
    one makes it, the others wait for it: all trajectories start from the same picture.
    """
    device, dtype = config.hardware.device, config.hardware.dtype
    painter = TextToImage(config.inputs.text_to_image_model, device, dtype)
    folder = beside(config.output, "images")
    for scene in scenes:
        path = folder / f"{scene.key}.png" if scene.path is None else scene.path
        lock = folder / f".{scene.key}.lock"
        # A lock beside the picture is of a run that was killed, or is about to go.
        if scene.path is None and (lock.exists() or not path.is_file()):
            with process_lock(lock, ONE_PAINTER, wait=True):
                if not path.is_file():
                    seed = draw(config.sampling.seed, scene.key, "picture").seed
                    picture = painter(scene.prompt, settings.height, settings.width, seed)
                    write_png(path, picture)
        yield replace(scene, path=path)
