"""Runs the generator's transformer, its sampler and its weight names on their fixtures."""

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig, write_config
from cosmos_predict1.diffusion.model.denoiser import CONDITION_SIGMA, Denoiser, c_noise, guided
from cosmos_predict1.diffusion.model.levels import noise_levels
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, load_generator
from cosmos_predict1.diffusion.model.weights import to_our_names
from cosmos_predict1.diffusion.sampling.sampler import condition_noise, sample
from src.tokenizer.cosmos import SIGMA_DATA, VideoTokenizer
from src.tokenizer.loading import to_diffusers_names

from .compare import Agreement, fact
from .fixture import Config, Fixture
from .tokenizer import check_architecture

WARP_CHANNELS = 64


def transformer_config(config: Config) -> TransformerConfig:
    """Our configuration for the original's; refuses variants that we lack."""
    config.require(
        patch_spatial=2,
        patch_temporal=1,
        block_config="FA-CA-MLP",
        concat_padding_mask=True,
        pos_emb_cls="rope3d",
        pos_emb_learnable=False,
        pos_emb_interpolation="crop",
        block_x_format="THWBD",
        affline_emb_norm=True,
        use_adaln_lora=True,
        norm_eps=1e-6,
        head_dim=config["model_channels"] // config["num_heads"],
    )
    ratios = (config[f"rope_{axis}_extrapolation_ratio"] for axis in "thw")
    time_ratio, row_ratio, column_ratio = map(float, ratios)
    return TransformerConfig(
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        num_attention_heads=config["num_heads"],
        attention_head_dim=config["model_channels"] // config["num_heads"],
        num_layers=config["num_blocks"],
        mlp_ratio=config.get("mlp_ratio", 4.0),
        text_embed_dim=config["crossattn_emb_channels"],
        adaln_lora_dim=config["adaln_lora_dim"],
        max_size=(config["max_frames"], config["max_img_h"], config["max_img_w"]),
        rope_scale=(time_ratio, row_ratio, column_ratio),
        rope_precision="exact",
    )


def transformer(fixture: Fixture) -> dict[str, Tensor]:
    """F of one input under all the conditions of the fixture, from a published `model.pt`."""
    with tempfile.TemporaryDirectory() as name:
        torch.save({"model": fixture.weights()}, Path(name) / "model.pt")
        write_config(transformer_config(fixture.config), Path(name))
        exact = load_generator(name)
        rounded = load_generator(name, rope_precision="bf16")
    fixture.config.require(batch=fixture.inputs("x").shape[0])
    x, level = fixture.inputs("x"), fixture.inputs("c_noise")
    names = ("text", "condition_mask", "warp_latents")
    text, mask, warps = (fixture.inputs(name) for name in names)
    padding = fixture.inputs("padding_mask")
    conditions = Conditions(text, mask, warps, fixture.config["fps"], padding)
    bare = replace(conditions, warps=torch.zeros_like(warps), padding=None)
    with torch.no_grad():
        outputs = {
            "F": exact(x, level, conditions),
            "F_zero_warp": exact(x, level, bare),
            "F_rope_bf16": rounded(x, level, conditions),
        }
        if "fps2" in fixture.config:
            outputs["F_fps2"] = exact(x, level, replace(conditions, fps=fixture.config["fps2"]))
    return outputs


class ToyBranches(Conditions):
    """Conditions that can be cut in two."""

    def chunk(self, parts: int) -> list["ToyBranches"]:
        """The batch in equal parts."""
        tensors = (self.text, self.mask, self.warps)
        cut = zip(*(tensor.chunk(parts) for tensor in tensors), strict=True)
        return [ToyBranches(*part) for part in cut]


class ToyNetwork:
    """The fixture's analytic network."""

    def prepare(self, conditions: Conditions) -> ToyBranches:
        """The same conditions."""
        return ToyBranches(conditions.text, conditions.mask, conditions.warps)

    def __call__(self, x: Tensor, c_noise: Tensor, conditions: ToyBranches) -> Tensor:
        """The formula of the fixture's description."""
        cosines = torch.cos(0.1 * torch.arange(WARP_CHANNELS, dtype=torch.float32))
        warp = torch.einsum("bcthw,c->bthw", conditions.warps, cosines)[:, None] / WARP_CHANNELS
        text = conditions.text.mean(dim=(1, 2))[:, None, None, None, None]
        level = c_noise[:, None, None, None, None]
        mixed = 0.3 * x + 0.1 * x.roll(1, dims=2) + 0.1 * conditions.mask + 0.5 * warp
        return torch.tanh(mixed + 0.01 * level + 0.2 * text)


def sampler(fixture: Fixture) -> dict[str, Tensor]:
    """Schedules, intermediate and final states of all runs."""
    given, warps = fixture.inputs("first_frame_latent"), fixture.inputs("warp_latents")
    count = fixture.config["num_condition_latent_frames"]
    mask = torch.zeros_like(given[:, :1])
    mask[:, :, :count] = 1
    conditions = Conditions(fixture.inputs("text"), mask, warps)
    noise = fixture.inputs("cond_noise")
    fixture.config.require(sigma_data=SIGMA_DATA, cond_sigma=CONDITION_SIGMA)
    seed = fixture.config.get("cond_noise_numpy_seed")
    if seed is not None:
        ours = condition_noise(tuple(given.shape), seed)
        assert torch.allclose(ours, noise), f"condition noise of seed {seed} differs"
        noise = ours
    outputs: dict[str, Tensor] = {}
    for run in fixture.config["runs"]:
        steps, guidance = run["num_steps"], run["guidance"]
        levels = noise_levels(
            steps, *(fixture.config[name] for name in ("sigma_max", "sigma_min", "rho"))
        )
        outputs[f"sigmas_n{steps}"] = levels
        times = [c_noise(sigma) for sigma in levels[:-1].tolist()]
        outputs[f"timesteps_n{steps}"] = torch.tensor(times)
        states: dict[int, Tensor] = {}
        predict = guided(ToyNetwork(), conditions, fixture.inputs("negative_text"), guidance)
        denoise = Denoiser(predict, given[:, :, :count], noise[:, :, :count])
        final = sample(
            denoise, fixture.inputs("init_noise"), levels, states.__setitem__, denoise.constrain
        )
        name = f"x_n{steps}_g{math.floor(guidance) if guidance == int(guidance) else guidance}"
        outputs |= {f"{name}_step{step}": states[step] for step in run["saved_steps"]}
        outputs[f"{name}_final"] = final
    return outputs


def keys(fixture: Fixture) -> list[Agreement]:
    """Whether the published names and shapes, mapped, are exactly those of our networks."""
    published = json.loads((fixture.path / fixture.config["file"]).read_text())
    with torch.device("meta"):
        tensors = {
            part: {name: torch.empty(tuple(shape)) for name, shape in published[part].items()}
            for part in ("transformer", "tokenizer")
        }
        network = Gen3CTransformer(transformer_config(fixture.config["transformer"]))
        tokenizer = VideoTokenizer({}, torch.empty(16, 16), torch.empty(16, 16))
    check_architecture(fixture.config["tokenizer"], tokenizer)
    cases = (
        ("transformer", to_our_names(tensors["transformer"]), network.state_dict()),
        ("tokenizer", to_diffusers_names(tensors["tokenizer"]), tokenizer.autoencoder.state_dict()),
    )
    checks = []
    for part, found, wanted in cases:
        entries = fixture.config[f"num_{part}_entries"]
        others = fixture.config[f"{part}_non_parameter_entries"]
        left = entries - len(others)
        checks.append(fact(f"{part} weights", len(found) == left, f"{len(found)}, not {left}"))
        checks.append(fact(f"{part} entries", len(tensors[part]) == entries, f"not {entries}"))
        apart = sorted(found.keys() ^ wanted.keys())
        checks.append(fact(f"{part} names", not apart, f"in one only: {apart[:4]}"))
        shapes = [name for name in found.keys() & wanted if found[name].shape != wanted[name].shape]
        checks.append(fact(f"{part} shapes", not shapes, f"differ: {shapes[:4]}"))
        count = sum(tensor.numel() for tensor in wanted.values())
        expected = fixture.config[f"num_{part}_parameters"]
        checks.append(fact(f"{part} parameters", count == expected, f"{count}, not {expected}"))
    return checks


KINDS = {"sdg_transformer": transformer, "sdg_sampler": sampler, "sdg_keys": keys}
