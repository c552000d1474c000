"""Example -> Gaussians, for training and sampling.

The inputs that don't depend on the target time (latents, encoded Pluecker maps, rays, encoded
source times) are prepared once a scene. A dynamic scene is then decoded once for each target time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...geometry.rays import coarse_rays
from ...runtime import InputError
from ...tokenizer.cosmos import COMPRESSION, VideoTokenizer, latent_frames
from ...tokenizer.latents import PlueckerEncoder, TimeEncoder
from ..data.example import Example
from .decoder import LatentRecon

TypeName = Literal["auto", "bfloat16", "float32"]
Plueckers = Callable[[Cameras, torch.device], Tensor]


def floating_type(name: TypeName, device: torch.device) -> torch.dtype:
    """Returns the type of that name; `auto` is bfloat16 on CUDA and float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def cast_trunk(model: LatentRecon, dtype: torch.dtype) -> LatentRecon:
    """Casts embeddings and blocks in place; with `precision: parity`, last norm and head too."""
    parts = [*model.children()]
    if model.config.precision == "fp32":
        parts = [part for part in parts if part not in (model.enc_norm, model.deconv)]
    for part in parts:
        part.to(dtype)
    return model


@dataclass(frozen=True)
class SceneConditions:
    """The inputs of a decoder for a batch of scenes, without the target times.

    `size` is the height and width of the pictures.
    """

    latents: Float[Tensor, "scene traj latent_frame c lh lw"]
    pluecker: Float[Tensor, "scene traj latent_frame c2 lh lw"]
    origins: Float[Tensor, "scene traj frame 3 lh lw"]
    directions: Float[Tensor, "scene traj frame 3 lh lw"]
    source_times: Float[Tensor, "scene latent_frame c lh lw"] | None
    size: tuple[int, int]


def _loaded(tokenizer: VideoTokenizer | Callable[[], VideoTokenizer]) -> VideoTokenizer:
    return tokenizer if isinstance(tokenizer, VideoTokenizer) else tokenizer()


class SceneDecoder:
    """A decoder and its frozen tokenizer, both on one device."""

    def __init__(
        self,
        model: LatentRecon,
        tokenizer: VideoTokenizer | Callable[[], VideoTokenizer],
        pluecker_bytes: int = 0,
    ) -> None:
        """Keeps up to `pluecker_bytes` of encoded Pluecker maps, for scenes that are seen again.

        A function loads the tokenizer when it is first needed.
        """
        self.model = model
        # Not a method: this object's reference to itself would keep its memory.
        load = self._tokenizer = cache(partial(_loaded, tokenizer))
        precision = model.config.precision
        # Returns encoded Pluecker maps of cameras (trajectory, frame) on a device.
        self.plueckers: Plueckers = PlueckerEncoder(
            lambda videos: load().encode(videos), precision, pluecker_bytes
        )
        # By picture size, the only property of a scene that an encoded time depends on.
        self._time_encoders: dict[tuple[int, int], TimeEncoder] = {}

    @property
    def tokenizer(self) -> VideoTokenizer:
        """The tokenizer, which is loaded now if it was not needed before."""
        return self._tokenizer()

    @property
    def device(self) -> torch.device:
        """The device of the decoder; examples are moved there."""
        return self.model.enc_norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the decoder's trunk."""
        return self.model.patch_embed.norm.weight.dtype

    def prepare(self, example: Example) -> SceneConditions:
        """Returns the inputs of one scene, which all target times share."""
        return self.batch_conditions([example])

    @torch.no_grad()
    def warm_up(self, frames: int, size: tuple[int, int]) -> None:
        """Decodes an empty trajectory of so many frames of this height and width.

        This loads the kernels, or compiles them and chooses the fastest, in a small part of the
        time of a scene; they are the same for more trajectories.
        """
        config = self.model.config
        cells = (size[0] // COMPRESSION, size[1] // COMPRESSION)
        shape = (1, 1, latent_frames(frames), config.latent_channels, *cells)
        latents = torch.zeros(shape, dtype=self.dtype, device=self.device)
        rays = torch.zeros(1, 1, frames, 3, *cells, device=self.device)
        time = (latents[:, 0], latents[:, 0, :1]) if config.use_time else None
        self.model(latents, latents.repeat(1, 1, 1, 2, 1, 1), rays, rays, time=time)

    def gaussians(self, scene: SceneConditions, target_time: float | None = None) -> Gaussians:
        """Returns the Gaussians of a prepared scene at a time in [0, 1].

        Raises:
            InputError: a time for a static decoder, none for a dynamic one, or out of range.
        """
        time = None
        if target_time is not None or self.model.config.use_time:
            time = self.times(scene, [target_time])
        decoded = self.model(
            scene.latents, scene.pluecker, scene.origins, scene.directions, time=time
        )
        return decoded.gaussians.map(lambda tensor: tensor[0])

    @torch.no_grad()
    def batch_conditions(self, examples: Sequence[Example]) -> SceneConditions:
        """Returns the inputs of the decoder in the type of its trunk; rays keep theirs.

        The scenes have pictures of one size and equally many trajectories and frames.

        Raises:
            InputError: latents that don't belong to pictures of this size and number.
        """
        seen = Cameras.concatenate([example.cameras for example in examples])
        pluecker = self.plueckers(seen, self.device).to(self.dtype)
        config, size, source_times = self.model.config, (seen.height, seen.width), None
        rays = [
            coarse_rays(example.cameras.to(self.device), COMPRESSION, config.precision)
            for example in examples
        ]
        if config.use_time:
            encode = self._time_encoder(size)
            times = [encode(example.source_times.tolist()) for example in examples]
            source_times = torch.stack(times).to(self.dtype)
        return SceneConditions(
            latents=torch.stack([self._latents(example) for example in examples]),
            pluecker=pluecker.unflatten(0, (len(examples), -1)),
            origins=torch.stack([origins for origins, _ in rays]),
            directions=torch.stack([directions for _, directions in rays]),
            source_times=source_times,
            size=size,
        )

    @torch.no_grad()
    def times(
        self, scenes: SceneConditions, targets: Sequence[float | None]
    ) -> tuple[Float[Tensor, "scene latent_frame c lh lw"], Float[Tensor, "scene 1 c lh lw"]]:
        """Returns encoded source times, and a target time a scene; raises as `gaussians`."""
        for time in targets:
            if not self.model.config.use_time:
                raise InputError("target time", time, "none: the decoder is static")
            if time is None or not 0 <= time <= 1:
                raise InputError("target time", time, "a share of the clip in [0, 1]")
        assert scenes.source_times is not None, "prepared by a static decoder"
        encode = self._time_encoder(scenes.size)
        encoded = [encode([time]) for time in targets if time is not None]
        return scenes.source_times, torch.stack(encoded).to(self.dtype)

    def _latents(self, example: Example) -> Float[Tensor, "traj latent_frame c lh lw"]:
        """Returns the raw latents, from disk or of the pictures."""
        latents = example.latents
        if latents is None:
            assert example.video is not None, f"scene {example.key}: neither latents nor pictures"
            # One trajectory at a time: the encoder's memory grows with the clip.
            clips = [self.tokenizer.encode(clip[None].to(self.device)) for clip in example.video]
            latents = torch.cat(clips)
        cameras = example.cameras
        trajectories, frames = cameras.c2w.shape[:2]
        cells = (cameras.height // COMPRESSION, cameras.width // COMPRESSION)
        channels = self.model.config.latent_channels
        expected = (trajectories, channels, latent_frames(frames), *cells)
        if tuple(latents.shape) != expected:
            wanted = f"{expected} for {frames} frames of {cameras.height}x{cameras.width} pixels"
            raise InputError(f"latents of scene {example.key!r}", tuple(latents.shape), wanted)
        return latents.to(self.device, self.dtype, non_blocking=True).transpose(1, 2)

    def _time_encoder(self, size: tuple[int, int]) -> TimeEncoder:
        if size not in self._time_encoders:
            parity = self.model.config.precision == "parity"
            dtype = torch.bfloat16 if parity else torch.float32
            encoder = TimeEncoder(self.tokenizer.encode, size, dtype=dtype, device=self.device)
            self._time_encoders[size] = encoder
        return self._time_encoders[size]
