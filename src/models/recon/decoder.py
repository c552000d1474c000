"""The decoder: latents, Pluecker latents and rays of up to six trajectories -> Gaussians.

Tokens of a scene are ordered (trajectory, latent frame, row, column), Gaussians (trajectory, frame,
row, column). Scans run through the whole sequence, so the order of trajectories matters. Weights
are read from published checkpoints, and from our safetensors with their configuration.
"""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...checkpoints.opening import read_tensors
from ...gaussians import Gaussians
from ...io.atomic import atomic_path
from ...io.damage import check_tensors, read_safetensors
from ...io.json_object import read_json_object, write_json
from ...runtime import InputError, without_memory
from .blocks import AttentionBlock, MambaBlock, PatchEmbed, Tokens, initialise, layer_norm
from .heads import NOT_OPACITY, OPACITY, RAW_CHANNELS, TemporalUpsample, activate, keep_indices
from .scan.seam import Backend

Precision = Literal["parity", "fp32"]
Rays = Float[Tensor, "batch traj frame 3 h w"]
# The least and the largest value of each size; larger networks would not fit into memory.
SIZES = {"depth": (1, 1000), "width": (1, 65536), "heads": (1, 65536), "patch": (1, 64)}
SIZES |= {"latent_channels": (1, 4096), "time_compression": (1, 64), "attention_every": (0, 1000)}
WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
# Settings of a run, not of the weights.
NOT_STORED = {"backend", "checkpointing"}
# A tensor of every decoder, from which the prefix of names is found.
MARKER = "enc_norm.weight"


@dataclass(kw_only=True)
class DecoderConfig:
    """Sizes and choices of the decoder; defaults as published."""

    depth: int = 16
    width: int = 512
    heads: int = 8
    mlp_ratio: float = 4.0
    # The last of so many blocks is attention instead of Mamba; 0 for Mamba only.
    attention_every: int = 8
    # Without Mamba every block is attention (an ablation).
    use_mamba: bool = True
    use_time: bool = False
    latent_channels: int = 16
    patch: int = 2
    time_compression: int = 8
    near: float = 0.1
    far: float = 500.0
    distance_shift: float = -1.65
    scale_cap: float = 0.3
    prune_ratio: float = 0.0
    # `fp32`: head and residual sum in float32; `parity`: all in the trunk's type, as published.
    precision: Precision = "fp32"
    # Recompute the activations of Mamba blocks in the backward pass.
    checkpointing: bool = False
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        for name, (least, most) in SIZES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"decoder.{name}", value, f"an integer from {least} to {most}")
        for name in ("mlp_ratio", "scale_cap"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"decoder.{name}", getattr(self, name), "a finite number above 0")
        if not 0 < self.near < self.far < math.inf:
            value = (self.near, self.far)
            raise InputError("decoder.near, decoder.far", value, "0 < near < far, both finite")
        if not math.isfinite(self.distance_shift):
            raise InputError("decoder.distance_shift", self.distance_shift, "a finite number")
        if not 0 <= self.prune_ratio < 1:
            raise InputError("decoder.prune_ratio", self.prune_ratio, "a share in [0, 1)")
        if self.width % self.heads:
            raise InputError("decoder.heads", self.heads, f"a divisor of the width {self.width}")
        if self.precision not in get_args(Precision):
            raise InputError("decoder.precision", self.precision, f"one of {get_args(Precision)}")


@dataclass(frozen=True)
class Decoded:
    """Gaussians of a batch of scenes; if pruned, their places before it."""

    gaussians: Gaussians
    keep_index: Int[Tensor, "batch kept"] | None = None


class LatentRecon(nn.Module):
    """The feed-forward decoder, a Mamba-2 and transformer hybrid."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        width, channels, patch = config.width, config.latent_channels, config.patch
        self.enc_blocks = nn.ModuleList(_block(config, index) for index in range(config.depth))
        self.enc_norm = nn.LayerNorm(width, eps=1e-6)
        initialise(self)
        self.patch_embed = PatchEmbed(channels, width, patch)
        self.patch_plucker_embed = PatchEmbed(2 * channels, width, patch, zero=True)
        # Part of every checkpoint, static ones too.
        self.patch_time_embed = PatchEmbed(channels, width, patch, zero=True)
        self.patch_time_embed_tgt = PatchEmbed(channels, width, patch, zero=True)
        self.deconv = TemporalUpsample(
            width, RAW_CHANNELS, patch=patch, stride=config.time_compression
        )

    def forward(
        self,
        latents: Float[Tensor, "batch traj latent_frame c h w"],
        pluecker: Float[Tensor, "batch traj latent_frame c2 h w"],
        origins: Rays,
        directions: Rays,
        time: tuple[Tensor, Tensor] | None = None,
    ) -> Decoded:
        """Returns the Gaussians of each scene, pruned if the configuration says so.

        Args:
            latents: Raw (not normalised) latents of the clips.
            pluecker: Encoded Pluecker maps, moment then direction.
            origins: Ray origins at the resolution of the latents, in world units.
            directions: Unit ray directions.
            time: For a dynamic decoder only: encoded source times (batch, latent_frame, c, h, w)
                and target time (one latent frame).
        """
        assert (time is not None) == self.config.use_time, "times and use_time disagree"
        tokens = self.patch_embed(latents.flatten(0, 1))
        tokens = tokens + self.patch_plucker_embed(pluecker.flatten(0, 1))
        tokens = tokens.unflatten(0, latents.shape[:2])
        if time is not None:
            source, target = self.patch_time_embed(time[0]), self.patch_time_embed_tgt(time[1])
            tokens = tokens + (source + target.repeat(1, time[0].shape[1], 1))[:, None]
        if self.config.precision == "fp32":
            # A bfloat16 trunk loses most in the sum over the blocks.
            tokens = tokens.float()
        batch, trajectories, frames, _, height, width = directions.shape
        steps, rest = divmod(frames - 1, self.config.time_compression)
        assert rest == 0, f"{frames} frames of rays, compression {self.config.time_compression}"
        grid = (steps + 1, height // self.config.patch, width // self.config.patch)
        features = self._encode(tokens.flatten(1, 2)).reshape(batch * trajectories, *grid, -1)
        # Outside autocast: the head computes in the type of the tokens.
        with torch.autocast(features.device.type, enabled=False):
            return self._head(layer_norm(self.enc_norm, features), origins, directions)

    def _encode(self, tokens: Tokens) -> Tokens:
        for block in self.enc_blocks:
            # Attention takes most of the time but little memory: it is not computed twice.
            if self.config.checkpointing and isinstance(block, MambaBlock) and tokens.requires_grad:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return tokens

    def _head(
        self,
        features: Float[Tensor, "clip latent_frame i j width"],
        origins: Rays,
        directions: Rays,
    ) -> Decoded:
        """Returns the Gaussians of the final features."""
        config, batch, keep = self.config, len(directions), None
        rays = (origins.to(features.dtype), directions.to(features.dtype))
        if config.prune_ratio == 0:
            raw = self.deconv(features).reshape(batch, -1, RAW_CHANNELS)
            rays = [field.movedim(3, -1).reshape(batch, -1, 3) for field in rays]
        else:
            # Opacity first: the other channels are evaluated for the kept cells alone.
            opacity = self.deconv(features, OPACITY).reshape(batch, -1)
            keep = keep_indices(opacity, config.prune_ratio)
            start = torch.arange(batch, device=keep.device)[:, None] * opacity.shape[1]
            raw = self.deconv.at(features, (keep + start).flatten(), NOT_OPACITY)
            kept = opacity.gather(1, keep)[..., None]
            raw = torch.cat((raw.unflatten(0, keep.shape), kept), dim=-1)
            rays = [_rays_at(field, keep) for field in rays]
        gaussians = activate(
            raw,
            origins=rays[0],
            directions=rays[1],
            near=config.near,
            far=config.far,
            distance_shift=config.distance_shift,
            scale_cap=config.scale_cap,
        )
        return Decoded(gaussians, keep)


def _rays_at(field: Rays, index: Int[Tensor, "batch kept"]) -> Float[Tensor, "batch kept 3"]:
    """Returns the vectors at flat indices over (trajectory, frame, row, column)."""
    height, width = field.shape[-2:]
    frame, cell = index // (height * width), index % (height * width)
    scene = torch.arange(len(index), device=index.device)[:, None].expand_as(index)
    frames = field.flatten(1, 2)
    return frames[scene, frame, :, cell // width, cell % width]


def _block(config: DecoderConfig, index: int) -> nn.Module:
    every = config.attention_every
    if not config.use_mamba or (every > 0 and index % every == every - 1):
        return AttentionBlock(config.width, config.heads, config.mlp_ratio)
    return MambaBlock(config.width, config.backend)


def load_decoder(
    path: Path | str, config: DecoderConfig | None = None, device: torch.device | str = "cpu"
) -> LatentRecon:
    """Loads the decoder in evaluation mode, in float32.

    Args:
        path: A torch checkpoint (DeepSpeed's `{"module": ...}` or a plain state dict), or our
            safetensors file, or its folder.
        config: By default the one stored beside a safetensors file, or the published one.
        device: The device of the weights.

    Raises:
        InputError: no such file, an unreadable one, or tensors that are missing, unexpected or of
            another shape, by name.
    """
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(path, "no such file", "a checkpoint of the decoder")
    if path.suffix == ".safetensors":
        state = read_safetensors(path)
        config = config or read_config(path.with_name(CONFIG_NAME))
    else:
        state = read_tensors(path, MARKER)
        config = config or DecoderConfig()
    with without_memory():
        model = LatentRecon(config)
    check_tensors(path, state, model.state_dict(), "the configured decoder")
    state = {name: tensor.to(device, torch.float32) for name, tensor in state.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_decoder(model: LatentRecon, folder: Path | str) -> None:
    """Writes the weights and the configuration into `folder`, each file atomically."""
    folder = Path(folder)
    state = {name: part.detach().cpu().contiguous() for name, part in model.state_dict().items()}
    stored = {name: value for name, value in asdict(model.config).items() if name not in NOT_STORED}
    write_json(folder / CONFIG_NAME, stored, indent=2)
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        save_file(state, temporary)


def read_config(path: Path) -> DecoderConfig:
    """Reads the configuration beside our weights; `InputError` for unknown keys or wrong values."""
    if not path.is_file():
        raise InputError(path, "no such file", "the configuration beside the weights")
    values = read_json_object(path)
    known = {field.name: type(field.default) for field in fields(DecoderConfig)}
    for name, value in values.items():
        if name not in known:
            raise InputError(path, f"unknown key {name!r}", f"keys among {sorted(known)}")
        number = known[name] is float and type(value) is int
        if type(value) is not known[name] and not number:
            raise InputError(path, f"{name} = {value!r}", f"a value of {known[name].__name__}")
    try:
        return DecoderConfig(**values)
    except InputError as error:
        raise InputError(path, f"{error.source} = {error.value}", error.expected) from error
