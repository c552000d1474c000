"""The parts that the shots of a scene share, computed once: depth, points, text, first frame."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from src.depth.backends.choice import DepthBackend, resolve_depth
from src.depth.backends.video import VideoDepthBackend, resolve_video_depth
from src.depth.estimate import DepthEstimate
from src.io.image import read_image, write_png
from src.io.locks import process_lock

from .conditioning.cache import PointCache
from .config import ClipSettings, SdgConfig
from .model.architecture import TransformerConfig
from .model.offload import resident
from .model.text import PromptEncoder, prompt_contexts
from .outputs import beside
from .sampling.pipeline import Gen3C
from .sampling.recipe import Context
from .sampling.rollout import PreparedScene
from .scenes.inputs import SceneInput
from .scenes.posed_video import video_kind
from .scenes.scene import (
    Center,
    Scene,
    SceneSize,
    filmed_scene,
    posed_scene,
    still_scene,
    to_device,
)
from .scenes.shots import draw, file_intrinsics
from .scenes.text_to_image import TextToImage

# Frames of a moving scene that become points at a time, where memory is short: 0.3 GiB.
FRAMES_AT_ONCE = 8
ONE_PAINTER = "one process that makes the picture of a prompt"


class Prompts:
    """The contexts of prompts; keeps those of the latest prompt, and loads T5 when needed."""

    def __init__(self, config: SdgConfig, network: TransformerConfig) -> None:
        self._network, self._negative = network, config.sampling.negative_prompt
        hardware = config.hardware
        self._encoder: PromptEncoder | None = None
        if not hardware.disable_text_encoder:
            offload = hardware.offload_text_encoder
            self._encoder = PromptEncoder(config.checkpoint_dir, hardware.device, offload)
        self._latest: tuple[str, tuple[Context, Context]] | None = None

    def __call__(self, prompt: str) -> tuple[Context, Context]:
        """Returns the contexts of the prompt and of the negative prompt.

        Raises:
            InputError: a text encoder is needed and missing, or cannot be read.
        """
        if self._network.sampling.text_encoder == "none":
            # With such weights a prompt has only made the picture.
            prompt = ""
        if self._latest is None or self._latest[0] != prompt:
            texts = prompt_contexts(
                self._network, self._encoder, prompt=prompt, negative_prompt=self._negative
            )
            self._latest = (prompt, texts)
        return self._latest[1]


def load_depth(config: SdgConfig, scenes: Sequence[SceneInput]) -> Any:
    """Returns the depth backend of pictures or of videos; None if no scene needs one.

    Raises:
        InputError: an unknown backend, one that is not installed, weights that are missing.
    """
    name, folder, hardware = config.inputs.depth, config.checkpoint_dir, config.hardware
    if config.moving and not any(is_filmed(scene, config) for scene in scenes):
        return None
    resolve = resolve_video_depth if config.moving else resolve_depth
    backend = resolve(name, folder, hardware.device)
    return VisitingDepth(backend, hardware.device) if hardware.plan.release_depth else backend


def is_filmed(scene: SceneInput, config: SdgConfig) -> bool:
    """Whether the scene is a plain video, whose depth has to be estimated."""
    if not config.moving or config.inputs.vipe is not None or scene.path is None:
        return False
    return video_kind(scene.path) == "video"


class VisitingDepth:
    """A depth backend whose network is on the device only while it works."""

    def __init__(self, backend: DepthBackend | VideoDepthBackend, device: torch.device) -> None:
        self.name, self.scene_scale = backend.name, backend.scene_scale
        self._backend, self._device = backend, device

    def __call__(self, *inputs: Any) -> DepthEstimate:
        """Returns the backend's depth of its inputs."""
        network = getattr(self._backend, "network", None)
        if not isinstance(network, nn.Module):
            return self._backend(*inputs)
        with resident(network, self._device, offload=True):
            return self._backend(*inputs)


class InputReader:
    """Reads scenes, the first one in a thread beside other work; `depth` is of `load_depth`."""

    def __init__(
        self, config: SdgConfig, settings: ClipSettings, network: TransformerConfig, depth: Any
    ) -> None:
        self.config, self.settings, self.network, self.depth = config, settings, network, depth
        self._ahead: tuple[str, Future[Scene]] | None = None

    def begin(self, source: SceneInput) -> None:
        """Begin to read a scene in a thread; its errors are raised where it is asked for."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._ahead = (source.key, pool.submit(torch.inference_mode()(self._read), source))
        pool.shutdown(wait=False)

    def __call__(self, source: SceneInput) -> Scene:
        """Returns the scene of an input.

        Raises:
            InputError: the input is missing, damaged or does not fit.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == source.key:
            return ahead[1].result()
        return self._read(source)

    def _read(self, source: SceneInput) -> Scene:
        """Reads the scene of a picture or a video."""
        config, settings, inputs = self.config, self.settings, self.config.inputs
        path, file = source.path, config.cameras.file
        assert path is not None, f"no picture for {source.key}"
        height, width = settings.height, settings.width
        size = SceneSize(height, width, settings.num_frames, inputs.resize)
        default_fps = self.network.sampling.fps
        if not config.moving:
            lens = None if file is None else file_intrinsics(file, height, width)
            fps = default_fps if settings.fps is None else settings.fps
            return still_scene(read_image(path), self.depth, size, fps=fps, lens=lens)
        if is_filmed(source, config):
            return filmed_scene(path, self.depth, size, start=inputs.start, fps=settings.fps)
        center: Center = "all" if inputs.published_invalid_depth else "known"
        return posed_scene(
            path,
            size,
            start=inputs.start,
            fps=settings.fps,
            default_fps=default_fps,
            center=center if inputs.center_depth_quantile else "one",
        )


class ScenePreparation:
    """Prepares scenes for a generator."""

    def __init__(self, reader: InputReader, *, generator: Gen3C, prompts: Prompts) -> None:
        self.reader, self.generator, self.prompts = reader, generator, prompts
        self._latest: tuple[str, Scene] | None = None

    def __call__(self, source: SceneInput, backwards: bool = False) -> PreparedScene:
        """Returns the scene of an input, or of the input played backwards.

        Raises:
            InputError: the input is missing, damaged or does not fit.
        """
        if self._latest is None or self._latest[0] != source.key:
            # Frees the previous scene before the next one is made.
            self._latest = None
            self._latest = (source.key, self._placed(self.reader(source)))
        scene = self._latest[1].backwards() if backwards else self._latest[1]
        reader, settings = self.reader, self.reader.config.cache
        cache = replace(settings, buffers=min(settings.buffers, self.generator.max_buffers))
        follow_up = reader.settings.pieces > 1 and not scene.moving
        return PreparedScene(
            scene=scene,
            cache=PointCache(
                scene.sources,
                cache,
                moving=scene.moving,
                at_once=FRAMES_AT_ONCE if self._on_host(scene) else 0,
            ),
            first=self.generator.first_latent(scene.first_frame),
            texts=self.prompts(source.prompt),
            backend=reader.depth if follow_up else None,
        )

    def _on_host(self, scene: Scene) -> bool:
        return scene.moving and self.reader.config.hardware.plan.host_scene

    def _placed(self, scene: Scene) -> Scene:
        """Returns the scene on the generator's device, but for frames that stay on the CPU."""
        placed = to_device(scene, self.generator.device)
        if not self._on_host(scene):
            return placed
        return replace(placed, sources=scene.sources.apply(lambda part: part.cpu()))


def make_pictures(
    config: SdgConfig, settings: ClipSettings, scenes: Sequence[SceneInput]
) -> Iterator[SceneInput]:
    """Yield the scenes, each with a picture; the picture of a prompt alone is made and kept.

    Pictures lie beside the output, in `<output>_images/<key>.png`. The first process that needs
    one makes it and the others wait, so that all trajectories start from the same picture.
    """
    device, dtype = config.hardware.device, config.hardware.dtype
    painter = TextToImage(config.inputs.text_to_image_model, device, dtype)
    folder = beside(config.output, "images")
    for scene in scenes:
        path = folder / f"{scene.key}.png" if scene.path is None else scene.path
        lock = folder / f".{scene.key}.lock"
        # A lock beside a picture belongs to a killed run, or to one that is about to release it.
        if scene.path is None and (lock.exists() or not path.is_file()):
            with process_lock(lock, ONE_PAINTER, wait=True):
                if not path.is_file():
                    seed = draw(config.sampling.seed, scene.key, "picture").seed
                    height, width = settings.height, settings.width
                    picture = painter(scene.prompt, height=height, width=width, seed=seed)
                    write_png(path, picture)
        yield replace(scene, path=path)
