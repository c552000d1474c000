"""Parity of the decoder network: its forward pass, its names, shapes and initialisation."""

import math
import re
from collections import defaultdict

import torch
from torch import Tensor

from src.models.recon.decoder import DecoderConfig, LatentRecon

from .compare import Agreement, fact
from .fixture import Config, Fixture

# Two random draws agree within this many standard errors.
STANDARD_ERRORS = 6.0


def decoder_config(published: Config) -> DecoderConfig:
    """The decoder's configuration out of the published keys; refuses variants that we lack."""
    published.require(
        use_qk_norm=False,
        patch_size_temporal=1,
        latent_spat_compression=8,
        patch_size_out_factor=[1, 8, 8],
        num_block_channels_reduce=None,
        output_dims=12,
        use_plucker=True,
        plucker_embedding_vae=True,
        plucker_embedding_vae_fuse_type="concat",
        time_embedding=True,
        time_embedding_vae=True,
        time_embedding_dim=3,
        use_patch_embeddings_encoder=True,
        use_pos_embedding=False,
        transposed_conv_type=None,
        gaussians_predict_offset=False,
        gaussians_random_ratio=0.0,
        sub_sample_gaussians_factor=None,
        fuse_multi_views=True,
        process_multi_views=True,
    )
    every = published["llrm_7m1t_index"]
    return DecoderConfig(
        depth=published["enc_depth"],
        width=published["enc_embed_dim"],
        heads=published["enc_num_heads"],
        mlp_ratio=published["mlp_ratio"],
        attention_every=every if published["llrm_7m1t"] else 0,
        use_mamba=published["use_mamba"],
        use_time=published.get("use_time_embedding", False),
        latent_channels=published["num_latent_c"],
        patch=published["patch_size"],
        time_compression=published["latent_time_compression"],
        near=published.get("dnear", 0.1),
        far=published.get("dfar", 500.0),
        distance_shift=published.get("pre_sigmoid_distance_shift", -1.65),
        scale_cap=published.get("gaussian_scale_cap", 0.3),
        prune_ratio=published.get("gaussians_prune_ratio", 0.0),
    )


def forward(fixture: Fixture) -> dict[str, Tensor]:
    """The Gaussians of a small decoder with the fixture's weights, and the kept positions."""
    config = decoder_config(fixture.config)
    model = LatentRecon(config)
    model.load_state_dict(fixture.weights())
    trajectories = fixture.config["num_input_multi_views"]
    names = ("rgb_latents", "plucker_latents", "rays_os", "rays_ds")
    inputs = [fixture.inputs(name).unflatten(1, (trajectories, -1)) for name in names]
    batch, _, count, _, height, width = inputs[0].shape
    fixture.config.require(
        batch_size=batch,
        num_input_views=config.time_compression * (count - 1) + 1,
        img_size=[8 * height, 8 * width],
        tokens=trajectories * count * height * width // config.patch**2,
        check_each_channel_group=True,
    )
    time = None
    if config.use_time:
        both = fixture.inputs("time_embeddings")
        time = (both[:, :-1], both[:, -1:])
    with torch.inference_mode():
        decoded = model.eval()(*inputs, time=time)
    outputs = {"gaussians": decoded.gaussians.packed()}
    if decoded.keep_index is not None:
        outputs["keep_index"] = decoded.keep_index
    return outputs


def initialisation(fixture: Fixture) -> list[Agreement]:
    """Names, shapes and order of all tensors; mean and deviation of each kind of parameter."""
    raw = fixture.raw
    torch.manual_seed(0)
    state = LatentRecon(decoder_config(fixture.config)).state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    different = sorted(
        name
        for name in shapes.keys() | raw["state_dict"].keys()
        if shapes.get(name) != raw["state_dict"].get(name)
    )
    count = sum(tensor.numel() for tensor in state.values())
    checks = [
        fact("names and shapes", not different, f"different: {different}"),
        fact("number of tensors", len(state) == raw["num_tensors"], f"{len(state)}"),
        fact("number of parameters", count == raw["num_parameters"], f"{count}"),
    ]
    if different:
        return checks
    # The same parameter of all blocks and directions is pooled: some have 16 numbers each.
    kinds = defaultdict(list)
    for name in state:
        kinds[re.sub(r"(enc_blocks|mamba_scans)\.\d+", r"\1.*", name)].append(name)
    values = raw["init_statistics"]["values"]
    for kind, names in kinds.items():
        ours = torch.cat([state[name].flatten() for name in names]).double()
        checks += _statistics(kind, ours, [values[name] for name in names])
    return checks


def _statistics(kind: str, ours: Tensor, reference: list[dict[str, float]]) -> list[Agreement]:
    """Mean and deviation of one kind of parameter against those of equally large parts."""
    mean = sum(part["mean"] for part in reference) / len(reference)
    square = sum(part["mean"] ** 2 + part["std"] ** 2 for part in reference) / len(reference)
    std = math.sqrt(max(square - mean**2, 0.0))
    if all(part["std"] == 0 for part in reference):
        return [fact(f"{kind} constant", bool((ours == mean).all()), f"expected {mean}")]
    error = math.sqrt(2 / len(ours))
    return [
        Agreement(f"{kind} mean", abs(ours.mean().item() - mean) / std, STANDARD_ERRORS * error),
        Agreement(f"{kind} std", abs(ours.std().item() / std - 1), STANDARD_ERRORS * error),
    ]


KINDS = {"recon_forward": forward, "recon_init": initialisation}
