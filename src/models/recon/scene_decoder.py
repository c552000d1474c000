"""Example -> Gaussians, for training and sampling alike.

What does not depend on the target time (latents, encoded Pluecker maps, rays, encoded source times,
patch embeddings) is prepared once a scene; a dynamic scene is then decoded once per target time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...geometry.rays import coarse_rays
from ...runtime import InputError
from ...tokenizer.cosmos import COMPRESSION, VideoTokenizer, latent_frames
from ...tokenizer.latents import TimeEncoder
from ...tokenizer.plueckers import PlueckerEncoder
from ..data.example import Example
from .decoder import Decoded, LatentRecon

TypeName = Literal["auto", "bfloat16", "float32"]


def floating_type(name: TypeName, device: torch.device) -> torch.dtype:
    """The type of that name; `auto` is bfloat16 on CUDA and float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def cast_trunk(model: LatentRecon, dtype: torch.dtype) -> LatentRecon:
    """The decoder with its embeddings and blocks in `dtype`, changed in place.

    The last norm and the head keep their type, unless `precision` is `parity`: then they follow.
    """
    parts = [*model.children()]
    if model.config.precision == "fp32":
        parts = [part for part in parts if part not in (model.enc_norm, model.deconv)]
    for part in parts:
        part.to(dtype)
    return model


@dataclass(frozen=True)
class SceneConditions:
    """What a decoder sees of one scene, as a batch of one, but for the target time."""

    latents: Float[Tensor, "1 traj latent_frame c lh lw"]
    pluecker: Float[Tensor, "1 traj latent_frame c2 lh lw"]
    origins: Float[Tensor, "1 traj frame 3 lh lw"]
    directions: Float[Tensor, "1 traj frame 3 lh lw"]
    source_times: Float[Tensor, "1 latent_frame c lh lw"] | None


@dataclass(frozen=True)
class PreparedDecoding:
    """A scene up to the first block, but for the target time."""

    tokens: Float[Tensor, "1 traj token width"]
    origins: Float[Tensor, "1 traj frame 3 lh lw"]
    directions: Float[Tensor, "1 traj frame 3 lh lw"]
    source_times: Float[Tensor, "1 latent_frame c lh lw"] | None
    size: tuple[int, int]


class SceneDecoder:
    """A decoder and its frozen tokenizer, both on one device."""

    def __init__(
        self, model: LatentRecon, tokenizer: VideoTokenizer, pluecker_bytes: int = 0
    ) -> None:
        """Keep up to `pluecker_bytes` of encoded Pluecker maps, for scenes that come again."""
        self.model, self.tokenizer = model, tokenizer
        precision = model.config.precision
        self._plueckers = PlueckerEncoder(tokenizer.encode, precision, pluecker_bytes)
        # By picture size: an encoded time depends on nothing else of a scene.
        self._time_encoders: dict[tuple[int, int], TimeEncoder] = {}

    @property
    def device(self) -> torch.device:
        """Where the decoder is; examples are moved there."""
        return self.model.enc_norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the decoder's trunk."""
        return self.model.patch_embed.norm.weight.dtype

    def prepare(self, example: Example) -> PreparedDecoding:
        """All that the target times of a scene share; differentiable in the decoder's weights."""
        conditions = self.conditions(example)
        tokens = self.model.embed(conditions.latents, conditions.pluecker)
        return PreparedDecoding(
            tokens,
            conditions.origins,
            conditions.directions,
            conditions.source_times,
            (example.cameras.height, example.cameras.width),
        )

    def decode(self, prepared: PreparedDecoding, target_time: float | None = None) -> Decoded:
        """The Gaussians of a prepared scene, as a batch of one, at a time in [0, 1].

        Raises:
            InputError: a time for a static decoder, none for a dynamic one, one out of range.
        """
        time_tokens = None
        if target_time is not None or self.model.config.use_time:
            target = self.target_time(target_time, prepared.size)
            assert prepared.source_times is not None, "prepared by a static decoder"
            time_tokens = self.model.embed_time(prepared.source_times, target)
        return self.model.decode(
            prepared.tokens, prepared.origins, prepared.directions, time_tokens
        )

    def gaussians(self, prepared: PreparedDecoding, target_time: float | None = None) -> Gaussians:
        """The one set of Gaussians of a prepared scene; see `decode`."""
        return self.decode(prepared, target_time).gaussians.map(lambda tensor: tensor[0])

    def conditions(self, example: Example) -> SceneConditions:
        """The inputs of the decoder, in the type of its trunk; rays keep theirs.

        Raises:
            InputError: latents that don't belong to pictures of this size and number.
        """
        return self.batch_conditions([example])[0]

    @torch.no_grad()
    def batch_conditions(self, examples: Sequence[Example]) -> list[SceneConditions]:
        """The same of scenes with pictures of one size and equally many frames."""
        seen = Cameras.concatenate([example.cameras for example in examples])
        encoded = self._plueckers(seen, self.device).to(self.dtype)
        maps = encoded.split([len(example.cameras) for example in examples])
        return [self._conditions(*pair) for pair in zip(examples, maps, strict=True)]

    @torch.no_grad()
    def target_time(
        self, time: float | None, size: tuple[int, int]
    ) -> Float[Tensor, "1 1 c lh lw"]:
        """The encoded target time of pictures of `size` (height, width), kept for the next scene.

        Raises:
            InputError: see `decode`.
        """
        if not self.model.config.use_time:
            raise InputError("target time", time, "none: the decoder is static")
        if time is None or not 0 <= time <= 1:
            raise InputError("target time", time, "a share of the clip in [0, 1]")
        return self._time_encoder(size)([time])[None].to(self.dtype)

    def _latents(self, example: Example) -> Float[Tensor, "traj latent_frame c lh lw"]:
        """Raw latents, those on disk or those of the pictures."""
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
        return latents.to(self.device, self.dtype).transpose(1, 2)

    def _conditions(
        self, example: Example, pluecker: Float[Tensor, "traj latent_frame c2 lh lw"]
    ) -> SceneConditions:
        cameras = example.cameras.to(self.device)
        origins, directions = coarse_rays(cameras, COMPRESSION, self.model.config.precision)
        source_times = None
        if self.model.config.use_time:
            encoder = self._time_encoder((cameras.height, cameras.width))
            source_times = encoder(example.source_times.tolist())[None].to(self.dtype)
        return SceneConditions(
            self._latents(example)[None],
            pluecker[None],
            origins[None],
            directions[None],
            source_times,
        )

    def _time_encoder(self, size: tuple[int, int]) -> TimeEncoder:
        if size not in self._time_encoders:
            parity = self.model.config.precision == "parity"
            dtype = torch.bfloat16 if parity else torch.float32
            encoder = TimeEncoder(self.tokenizer.encode, size, dtype=dtype, device=self.device)
            self._time_encoders[size] = encoder
        return self._time_encoders[size]
