"""The whole decoder: the original's results, and what must not change a result."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from src.models.recon.blocks import AttentionBlock, MambaBlock
from src.models.recon.decoder import DecoderConfig, LatentRecon
from src.runtime import InputError

Decoder = Callable[..., LatentRecon]
Inputs = Callable[..., list[Tensor]]
GROUPS = {"xyz": (0, 3), "opacity": (3, 4), "scale": (4, 7), "rotation": (7, 11), "rgb": (11, 14)}


def group_errors(ours: Tensor, reference: Tensor) -> dict[str, float]:
    errors = {}
    for name, (start, end) in GROUPS.items():
        expected = reference[..., start:end].double().cpu()
        difference = ours[..., start:end].double().cpu() - expected
        errors[name] = (difference.norm() / expected.norm()).item()
    return errors


@pytest.mark.parametrize("name", ["static", "static_prune", "dynamic"])
def test_equals_the_original(shared: Path, name: str) -> None:
    """Catches any difference from the original network, by channel group."""
    folder = shared / "fixtures" / f"recon_forward_{name}"
    published = json.loads((folder / "fixture.json").read_text())["config"]
    tensors = load_file(folder / "tensors.safetensors")
    config = DecoderConfig(
        depth=published["enc_depth"],
        width=published["enc_embed_dim"],
        heads=published["enc_num_heads"],
        attention_every=published["llrm_7m1t_index"],
        use_time=published["use_time_embedding"],
        prune_ratio=published["gaussians_prune_ratio"],
    )
    model = LatentRecon(config)
    prefix = "weights/"
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    model.load_state_dict(weights)
    split = (published["num_input_multi_views"], -1)
    names = ("rgb_latents", "plucker_latents", "rays_os", "rays_ds")
    parts = [tensors[f"inputs/{part}"].unflatten(1, split) for part in names]
    times = tensors.get("inputs/time_embeddings")
    time = None if times is None else (times[:, :-1], times[:, -1:])
    with torch.no_grad():
        decoded = model(*parts, time=time)
    errors = group_errors(decoded.gaussians.packed(), tensors["outputs/gaussians"])
    assert max(errors.values()) < 3e-6, errors
    if decoded.keep_index is not None:
        assert torch.equal(decoded.keep_index, tensors["outputs/keep_index"])


def test_names_and_size_of_the_published_network() -> None:
    """Catches any renamed, missing or extra parameter at full size."""
    with torch.device("meta"):
        state = LatentRecon(DecoderConfig()).state_dict()
    assert len(state) == 254
    assert sum(tensor.numel() for tensor in state.values()) == 32_753_996
    assert state["enc_blocks.14.mamba.mamba_scans.1.conv1d.weight"].shape == (1536, 1, 4)
    assert state["deconv.weight"].shape == (512, 12, 9, 2, 2)


def test_order_of_blocks() -> None:
    """Catches attention at the wrong depth."""
    kinds = {
        (True, 8): [AttentionBlock if i in (7, 15) else MambaBlock for i in range(16)],
        (True, 0): [MambaBlock] * 16,
        (False, 8): [AttentionBlock] * 16,
    }
    for (use_mamba, every), expected in kinds.items():
        with torch.device("meta"):
            config = DecoderConfig(use_mamba=use_mamba, attention_every=every)
            model = LatentRecon(config)
        assert [type(block) for block in model.enc_blocks] == expected


def test_starts_as_a_network_that_sees_latents_only(inputs: Inputs) -> None:
    """Catches conditioning that is not zero at the start of training."""
    model = LatentRecon(DecoderConfig(depth=1, width=32, heads=1, latent_channels=4))
    latents, pluecker, origins, directions = inputs()
    before = model(latents, pluecker, origins, directions).gaussians.packed()
    after = model(latents, 2 * pluecker + 1, origins, directions).gaussians.packed()
    assert torch.equal(before, after)


def test_order_of_trajectories_matters(decoder: Decoder, inputs: Inputs) -> None:
    """Catches trajectories processed one by one, or Gaussians fused in another order."""
    parts = inputs(trajectories=3)
    model = decoder()
    with torch.no_grad():
        straight = model(*parts).gaussians.packed().unflatten(1, (3, -1))
        order = torch.tensor([2, 0, 1])
        permuted = model(*(part[:, order] for part in parts)).gaussians.packed()
    permuted = permuted.unflatten(1, (3, -1))
    difference = (permuted - straight[:, order]).norm() / straight.norm()
    assert 1e-4 < difference < 0.5


def test_scenes_of_a_batch_are_independent(decoder: Decoder, inputs: Inputs) -> None:
    """Catches tokens or kept indices that mix scenes."""
    parts = inputs(batch=2)
    for ratio in (0.0, 0.8):
        model = decoder(prune_ratio=ratio)
        with torch.no_grad():
            both = model(*parts)
            second = model(*(part[1:] for part in parts))
        torch.testing.assert_close(both.gaussians.packed()[1:], second.gaussians.packed())
        assert ratio == 0 or torch.equal(both.keep_index[1:], second.keep_index)


def test_pruned_are_the_most_opaque_of_all(decoder: Decoder, inputs: Inputs) -> None:
    """Catches pruning by trajectory, and kept cells evaluated at the wrong place."""
    parts = inputs(trajectories=3)
    with torch.no_grad():
        everything = decoder()(*parts).gaussians.packed()[0]
        pruned = decoder(prune_ratio=0.8)(*parts)
    assert pruned.keep_index is not None
    expected = everything[:, 3].topk(int(len(everything) * (1 - 0.8))).indices.sort().values
    assert torch.equal(pruned.keep_index[0], expected)
    torch.testing.assert_close(pruned.gaussians.packed()[0], everything[expected])


def test_every_target_time_has_gaussians_of_its_own(decoder: Decoder, inputs: Inputs) -> None:
    """Catches times that are not used, or that change places."""
    model = decoder(use_time=True)
    source, targets = torch.randn(1, 3, 4, 4, 6), torch.randn(3, 1, 1, 4, 4, 6)
    with torch.no_grad():
        results = [model(*inputs(), (source, target)).gaussians.packed() for target in targets]
        moved = model(*inputs(), (source.flip(1), targets[0])).gaussians.packed()
    for other in (*results[1:], moved):
        assert (results[0] - other).norm() / results[0].norm() > 1e-3


def test_times_and_configuration_must_agree(decoder: Decoder, inputs: Inputs) -> None:
    """Catches a dynamic decoder that runs without a time, or a static one that ignores it."""
    time = (torch.randn(1, 3, 4, 4, 6), torch.randn(1, 1, 4, 4, 6))
    with pytest.raises(AssertionError, match="time"):
        decoder()(*inputs(), time=time)
    with pytest.raises(AssertionError, match="time"):
        decoder(use_time=True)(*inputs())


def test_rays_must_fit_the_latents(decoder: Decoder, inputs: Inputs) -> None:
    """Catches rays of another number of frames, spread over the tokens as they come."""
    latents, pluecker, origins, directions = inputs()
    with pytest.raises(AssertionError, match="16 frames"):
        decoder()(latents, pluecker, origins[:, :, :16], directions[:, :, :16])


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_checkpointing_changes_no_gradient(decoder: Decoder, inputs: Inputs, ratio: float) -> None:
    """Catches parameters cut off by recomputation or by pruning."""
    gradients = []
    for checkpointing in (False, True):
        model = decoder(checkpointing=checkpointing, prune_ratio=ratio).train()
        packed = model(*inputs()).gaussians.packed()
        packed.square().mean().backward()
        parts = dict(model.named_parameters())
        unused = [name for name, part in parts.items() if part.grad is None]
        assert all(name.startswith("patch_time_embed") for name in unused)
        gradients.append({n: p.grad for n, p in parts.items() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_head_precision(decoder: Decoder, inputs: Inputs) -> None:
    """Catches a float32 head that computes in the trunk's type, and the reverse."""
    parts = [part.bfloat16() if i < 2 else part for i, part in enumerate(inputs())]
    for precision, dtype in (("fp32", torch.float32), ("parity", torch.bfloat16)):
        model = decoder(precision=precision).bfloat16()
        with torch.no_grad():
            gaussians = model(*parts).gaussians
        assert gaussians.packed().dtype == dtype
    model = decoder()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model(*inputs()).gaussians.means.dtype == torch.float32


def test_impossible_configurations_are_refused() -> None:
    """Catches a wrong value found only after the weights were loaded."""
    for wrong in ({"prune_ratio": 1.0}, {"width": 100, "heads": 3}):
        with pytest.raises(InputError, match=str(list(wrong.values())[-1])):
            DecoderConfig(**wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.gpu
def test_bfloat16_trunk_is_close_to_float32(decoder: Decoder, inputs: Inputs) -> None:
    """Catches kernels or a head that lose more than bfloat16 must."""
    parts = [part.cuda() for part in inputs(trajectories=3)]
    torch.set_float32_matmul_precision("highest")
    with torch.inference_mode():
        exact = decoder(backend="torch").cuda()(*parts).gaussians.packed()
        single = decoder(backend="cuda").cuda()(*parts).gaussians.packed()
        half = decoder().cuda().bfloat16()(*parts).gaussians.packed()
    assert half.dtype == torch.float32
    errors = group_errors(single, exact)
    assert max(errors.values()) < 1e-4, errors
    errors = group_errors(half, exact)
    assert max(errors.values()) < 2e-2, errors


@pytest.mark.gpu
def test_training_step_on_the_gpu(decoder: Decoder, inputs: Inputs) -> None:
    """Catches kernels without gradients, under autocast and with recomputation."""
    parts = [part.cuda() for part in inputs()]
    gradients = []
    for backend, autocast in (("torch", False), ("cuda", False), ("cuda", True)):
        model = decoder(backend=backend, checkpointing=True).cuda().train()
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            packed = model(*parts).gaussians.packed()
        packed[..., 3:].square().mean().backward()
        parameters = [p for n, p in model.named_parameters() if "time_embed" not in n]
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    reference, single, half = gradients
    assert ((single - reference).norm() / reference.norm()).item() < 1e-3
    assert ((half - reference).norm() / reference.norm()).item() < 5e-2
