"""The decoder's losses, against closed forms and the published values."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.runtime import InputError
from src.training.decoder.losses import (
    LossConfig,
    Supervision,
    decoder_loss,
    depth_loss,
    normalise_depth,
    opacity_loss,
    solid_loss,
)


def test_published_values_and_gradients(shared: Path) -> None:
    """Would catch any deviation from the loss that the released weights were trained with."""
    data = load_file(shared / "fixtures" / "recon_loss" / "tensors.safetensors")
    leaves = [
        data[f"inputs/{name}"].requires_grad_()
        for name in ("images_pred", "depths_pred", "opacity_pred")
    ]
    config = LossConfig(
        lpips=0.0, depth=0.05, opacity=0.1, published_depth_median=True, published_opacity=True
    )
    terms = decoder_loss(
        Supervision(leaves[0], leaves[1][:, :, 0], leaves[2]),
        Supervision(data["inputs/images_output"], data["inputs/depths_output"][:, :, 0]),
        config,
    )
    names = {"loss": "total", "mse": "mse", "depth": "depth", "opacity": "opacity"}
    for ours, theirs in names.items():
        torch.testing.assert_close(terms[ours][None], data[f"outputs/loss_{theirs}"])
    terms["loss"].backward()
    for leaf, name in zip(leaves, ("images_pred", "depths_pred", "opacity_pred"), strict=True):
        expected = data[f"aux/grad_{name}"]
        assert leaf.grad is not None
        assert (leaf.grad - expected).norm() <= 1e-4 * expected.norm()


def test_depth_loss_ignores_scale_and_shift() -> None:
    """Would catch a normalisation that leaves scale or shift in, or that mixes frames."""
    target = torch.rand(2, 3, 8, 9) + 1
    scale, shift = torch.rand(2, 3, 1, 1) + 0.5, torch.rand(2, 3, 1, 1)
    assert depth_loss(target * scale + shift, target) < 1e-9


@pytest.mark.parametrize("count_unknown", [False, True])
def test_unknown_pixels_have_no_say(count_unknown: bool) -> None:
    """Would catch predicted depth at unknown pixels that reaches the loss."""
    target = torch.rand(1, 6, 6) + 1
    target[0, :2] = torch.tensor([0.0, -1, torch.nan, torch.inf, 0, 0])
    predicted = torch.rand(1, 6, 6)
    other = predicted.clone()
    other[0, :2] += 100
    first = depth_loss(predicted, target, count_unknown)
    assert torch.isfinite(first)
    assert first == depth_loss(other, target, count_unknown)


def test_the_median_is_that_of_known_pixels() -> None:
    """Would catch zeros of unknown pixels that drag the median down, the published defect."""
    depth = torch.tensor([[[0.0, 0, 0, 5, 6, 7]]])
    known = depth > 0
    torch.testing.assert_close(
        normalise_depth(depth, known), torch.tensor([[[0, 0, 0, -1.5, 0, 1.5]]])
    )
    assert normalise_depth(depth, known, count_unknown=True)[0, 0, 4] > 0.9


def test_a_frame_without_known_depth_gives_zero_with_finite_gradients() -> None:
    """Would catch NaN gradients from an empty mask."""
    predicted = torch.rand(2, 4, 4, requires_grad=True)
    loss = depth_loss(predicted, torch.zeros(2, 4, 4))
    loss.backward()
    assert loss == 0
    assert predicted.grad is not None and torch.isfinite(predicted.grad).all()


def test_opacity_loss_is_the_mean_opacity() -> None:
    """Would catch the published second sigmoid in the default."""
    opacities = torch.tensor([[0.0, 0.5, 1.0]])
    assert opacity_loss(opacities) == 0.5
    torch.testing.assert_close(opacity_loss(opacities, True), opacities.sigmoid().mean())


@pytest.mark.parametrize("term", ["lpips", "depth", "opacity"])
def test_a_weighted_term_needs_its_data(term: str) -> None:
    """Would catch a term that vanishes in silence because its data is absent."""
    weights = {"lpips": 0.0, "depth": 0.0, "opacity": 0.0} | {term: 1.0}
    frames = Supervision(torch.zeros(1, 1, 3, 4, 4))
    with pytest.raises(InputError, match=term if term != "lpips" else "LPIPS"):
        decoder_loss(frames, frames, LossConfig(**weights))


def test_negative_weights_are_refused() -> None:
    """Would catch a sign error in a config that turns a loss into a reward."""
    with pytest.raises(InputError, match="depth: got -1"):
        LossConfig(depth=-1.0)


def test_faint_gaussians_are_pulled_alike_however_faint_they_are() -> None:
    """Would catch a pull that vanishes where the sigmoid is flat: at faint Gaussians."""
    raw = torch.tensor([-6.0, -4.0, 0.0, 6.0], requires_grad=True)
    loss = solid_loss(raw.sigmoid())
    torch.testing.assert_close(loss, -torch.nn.functional.logsigmoid(raw).mean())
    loss.backward()
    assert raw.grad is not None
    # A step along the negative gradient: 1 - opacity, so the opaque ones rest.
    torch.testing.assert_close(-4 * raw.grad, 1 - raw.sigmoid())
    faintest = torch.zeros(2, requires_grad=True)
    solid_loss(faintest).backward()
    assert faintest.grad is not None and torch.isfinite(faintest.grad).all()


def test_the_solid_term_has_its_weight() -> None:
    """Would catch a setting without effect, or a term without opacities that is left out."""
    color = torch.rand(1, 2, 3, 8, 8)
    opacities = torch.full((1, 5), 0.1)
    config = LossConfig(mse=0, lpips=0, depth=0, solid=0.5)
    terms = decoder_loss(Supervision(color, None, opacities), Supervision(color), config)
    torch.testing.assert_close(terms["loss"], 0.5 * -torch.tensor(0.1).log())
    with pytest.raises(InputError, match="solid"):
        decoder_loss(Supervision(color), Supervision(color), config)
