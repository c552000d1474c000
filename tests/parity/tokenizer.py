"""Runs the tokenizer, and the conditioning that is encoded with it, on their fixtures."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.geometry.cameras import Cameras
from src.geometry.rays import coarse_rays
from src.runtime import InputError
from src.tokenizer.cosmos import SIGMA_DATA, VideoTokenizer
from src.tokenizer.latents import TimeEncoder, encode_pluecker
from src.tokenizer.loading import load_tokenizer

from .fixture import Config, Fixture


def tokenizer(fixture: Fixture) -> dict[str, Tensor]:
    """Raw and normalised latents, and decoded videos, with native weights read from a folder."""
    with tempfile.TemporaryDirectory() as name:
        torch.save(fixture.weights(), Path(name) / "model.pt")
        statistics = (fixture.inputs("latent_mean_256"), fixture.inputs("latent_std_256"))
        torch.save(statistics, Path(name) / "mean_std.pt")
        ours = load_tokenizer(Path(name))
    check_architecture(fixture.config, ours)
    videos = {key: part for key, part in fixture.group("inputs/").items() if "video" in key}
    height, width = next(iter(videos.values())).shape[-2:]
    frames = sorted(video.shape[2] for video in videos.values())
    fixture.config.require(frames=frames, height=height, width=width, sigma_data=SIGMA_DATA)
    outputs: dict[str, Tensor] = {}
    for key, tensor in fixture.group("inputs/").items():
        kind, _, frames = key.rpartition("_")
        if kind == "video":
            latent = ours.encode(tensor)
            outputs[f"latent_{frames}"] = latent
            outputs[f"latent_normalised_{frames}"] = ours.statistics.normalise(latent)
            outputs[f"decoded_{frames}"] = ours.decode(latent)
        elif kind == "sample":
            outputs[f"decoded_sample_{frames}"] = ours.decode(ours.statistics.denormalise(tensor))
    return outputs


def check_architecture(config: Config, tokenizer: VideoTokenizer) -> None:
    """Compares the original's configuration with that of a tokenizer.

    Raises:
        InputError: another value of a key, or one that our tokenizer does not have.
    """
    ours: Any = tokenizer.autoencoder.architecture
    channels, factors = config["channels"], config["channels_mult"]
    widths = [channels, *(channels * factor for factor in factors)]
    pairs = (
        (ours.encoder_block_out_channels, widths),
        (ours.decode_block_out_channels, [*widths[1:], widths[-1]]),
    )
    for built, wanted in pairs:
        if [*built] != wanted:
            raise InputError("config channels", f"widths {wanted}", f"{built}")
    config.require(
        num_res_blocks=ours.num_layers,
        attn_resolutions=[*ours.attention_resolutions],
        resolution=ours.resolution,
        in_channels=ours.in_channels,
        out_channels=ours.out_channels,
        latent_channels=ours.latent_channels,
        z_channels=ours.latent_channels,
        patch_size=ours.patch_size,
        patch_method=ours.patch_type,
        spatial_compression=ours.spatial_compression_ratio,
        temporal_compression=ours.temporal_compression_ratio,
    )
    config.require(
        dropout=0.0,
        z_factor=1,
        num_groups=1,
        legacy_mode=False,
        formulation="AE",
        encoder="FACTORIZED",
        decoder="FACTORIZED",
        name="CV",
    )


def toy_encoder(matrix: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """The fixture's stand-in encoder: 8x8 means, latent frame k from frames 8k-7 to 8k."""

    def encode(video: Tensor) -> Tensor:
        small = torch.nn.functional.avg_pool3d(video, (1, 8, 8))
        first, rest = small[:, :, :1], small[:, :, 1:].unflatten(2, (-1, 8))
        means = torch.cat([first, rest.mean(dim=3)], dim=2)
        return torch.einsum("oc,bcthw->bothw", matrix, means) + bias[:, None, None, None]

    return encode


def conditioning(fixture: Fixture) -> dict[str, Tensor]:
    """Pluecker and time latents as the decoder receives them."""
    config = fixture.config
    height, width = config["img_size"]
    encode = toy_encoder(fixture.inputs("vae_matrix"), fixture.inputs("vae_bias"))
    c2w, intrinsics = fixture.inputs("c2ws_input"), fixture.inputs("intrinsics_input")
    cameras = Cameras(c2w, intrinsics, width, height)
    factor, frames = config["patch_size_out_factor"][1], config["num_input_views"]
    origins, directions = coarse_rays(cameras, factor)
    target = fixture.inputs("time_embeddings_target")
    config.require(
        patch_size_out_factor=[1, factor, factor],
        batch_size=c2w.shape[0],
        num_input_multi_views=c2w.shape[1] // frames,
        target_frame=round(target[0, 0, 0].item() * (frames - 1)),
        compute_plucker_dtype="float32",
        time_embedding_dim=target.shape[-1],
        time_embedding_use_orig=True,
    )
    pluecker, times = [], []
    for scene in range(c2w.shape[0]):
        trajectories = [
            Cameras(poses, lenses, width, height)
            for poses, lenses in zip(
                c2w[scene].split(frames), intrinsics[scene].split(frames), strict=True
            )
        ]
        pluecker.append(torch.cat([encode_pluecker(encode, part) for part in trajectories]))
        source = fixture.inputs("time_embeddings")[scene, :, 0].tolist()
        moment = target[scene, 0, 0].item()
        encode_times = TimeEncoder(encode, (height, width))
        times.append(torch.cat([encode_times(source), encode_times([moment])]))
    return {
        "plucker_latents": torch.stack(pluecker),
        "time_latents": torch.stack(times),
        "rays_os": origins,
        "rays_ds": directions,
    }


KINDS = {"sdg_tokenizer": tokenizer, "recon_conditioning": conditioning}
