"""Loss and figures of the tokenizer: a colour that is lost must be seen."""

import pytest
import torch
from torch import Tensor

from src.evaluation.metrics import ycbcr
from src.runtime import InputError
from src.tokenizer.cosmos import LatentStatistics
from src.training.task import joined
from src.training.tokenizer.config import TokenizerLossConfig
from src.training.tokenizer.figures import (
    color_figures,
    measure_clip,
    measure_statistics,
    psnr_of,
    reconstruction_loss,
    reconstruction_sheet,
)


def collapsed(clips: Tensor, axis: int) -> Tensor:
    """Clips without one of their two axes of colour."""
    kept = ycbcr(clips)
    kept[:, axis] = 0
    y, cb, cr = kept.unbind(1)
    return torch.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 1)


def clips() -> Tensor:
    return 0.3 + 0.4 * torch.rand(2, 3, 3, 16, 16)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    """Terms that are summed instead of averaged, or weights that are mixed up."""
    decoded, video = torch.rand(2, 3, 3, 4, 4), torch.rand(2, 3, 3, 4, 4)
    terms = reconstruction_loss(decoded, video, TokenizerLossConfig(l1=2.0, l2=3.0, chroma=5.0))
    error = decoded - video
    torch.testing.assert_close(terms["l1"], error.abs().mean())
    torch.testing.assert_close(terms["mse"], (error**2).mean())
    chroma = ycbcr(error)[:, 1:].abs().mean()
    torch.testing.assert_close(terms["loss"], 2 * terms["l1"] + 3 * terms["mse"] + 5 * chroma)
    assert psnr_of(torch.tensor(4e-2)) == pytest.approx(20)


def test_the_first_frame_may_weigh_more() -> None:
    """A weight that changes the scale of the loss, or that falls on another axis than time."""
    decoded, video = torch.rand(2, 3, 3, 4, 4), torch.rand(2, 3, 3, 4, 4)
    terms = reconstruction_loss(decoded, video, TokenizerLossConfig(first_frame=4.0))
    error = (decoded - video).square().mean((0, 1, 3, 4))
    torch.testing.assert_close(terms["mse"], (4 * error[0] + error[1] + error[2]) / 6)
    with pytest.raises(InputError, match="loss.first_frame"):
        TokenizerLossConfig(first_frame=0.5)


def test_a_lost_colour_costs_more_than_lost_luma_of_the_same_error() -> None:
    """A loss in which a grey reconstruction is as good as any other of its PSNR."""
    video = 2 * clips() - 1
    lost = collapsed(video, 2) - video
    luma = lost.square().mean().sqrt() * torch.ones_like(video).cumsum(-1).remainder(2).mul(2).sub(
        1
    )
    config = TokenizerLossConfig()
    colour_loss = reconstruction_loss(video + lost, video, config)
    luma_loss = reconstruction_loss(video + luma, video, config)
    torch.testing.assert_close(colour_loss["mse"], luma_loss["mse"])
    assert colour_loss["loss"] > 1.5 * luma_loss["loss"]


@pytest.mark.parametrize(("axis", "name"), [(1, "cb"), (2, "cr")])
def test_a_collapsed_axis_gains_nothing_over_grey(axis: int, name: str) -> None:
    """Figures that look fine though reds or blues turned grey."""
    given = clips()
    found = color_figures(collapsed(given, axis), given)
    other = {"cb": "cr", "cr": "cb"}[name]
    assert found[f"gain_{name}"] == pytest.approx(0, abs=0.05)
    assert found[f"gain_{other}"] > 20
    assert found["psnr_y"] > 50
    perfect = color_figures(given, given)
    assert perfect["psnr"] == perfect["psnr_cr"] == 60
    assert perfect["gain_cb"] > 20


def test_statistics_are_those_of_all_latents() -> None:
    """Statistics over the wrong axes, or of batches of unequal size weighted alike."""
    scale, shift = torch.arange(1, 5).view(4, 1, 1, 1), torch.arange(3.0).view(3, 1, 1)
    latents = torch.randn(5, 4, 3, 6, 7) * scale + shift
    found = measure_statistics(lambda part: part, latents.split(2))
    assert isinstance(found, LatentStatistics)
    torch.testing.assert_close(found.mean, latents.mean(dim=(0, 3, 4)))
    std = latents.std(dim=(0, 3, 4), unbiased=False)
    torch.testing.assert_close(found.std, std)


def test_a_sheet_has_the_given_frames_above_the_decoded() -> None:
    """Rows that change places, or frames that are all the same."""
    clip = torch.linspace(0, 1, 5)[None, :, None, None].expand(3, 5, 8, 8)
    sheet = reconstruction_sheet(torch.zeros_like(clip), clip)
    assert sheet.shape == (8 + 4 + 8, 4 * 8 + 3 * 4, 3)
    assert sheet[0, :8].eq(0).all() and sheet[0, -8:].eq(255).all()
    assert sheet[-8:, -8:].eq(0).all()


def test_a_measurement_is_the_mean_over_clips() -> None:
    """A sum, or colours that are compared in another range than [0, 1]."""
    given = clips()
    noisy = given + 0.05 * torch.randn_like(given)
    pairs = zip((2 * noisy - 1).split(1), (2 * given - 1).split(1), strict=True)
    result = joined([measure_clip(decoded, clip, draw=True) for decoded, clip in pairs])
    assert result.count == 2 and result.picture is not None
    assert result.figures["psnr"] == pytest.approx(color_figures(noisy, given)["psnr"], rel=1e-4)
    assert result.figures["psnr"] == pytest.approx(26, abs=0.3)
