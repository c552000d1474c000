"""The tokenizer's shapes, causality and statistics."""

import copy

import pytest
import torch

from src.runtime import InputError
from src.tokenizer import cosmos
from src.tokenizer.cosmos import SIGMA_DATA, VideoTokenizer, latent_frames

TINY = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}


@pytest.fixture(scope="module")
def tokenizer() -> VideoTokenizer:
    torch.manual_seed(1)
    mean, std = torch.randn(16, 3), torch.rand(16, 3) + 0.5
    return VideoTokenizer(TINY, mean, std).requires_grad_(False).eval()


def test_shapes(tokenizer: VideoTokenizer) -> None:
    """Would catch a compression other than 8x8x8 or a lost first frame."""
    latent = tokenizer.encode(torch.zeros(2, 3, 17, 16, 24))
    assert latent.shape == (2, 16, 3, 2, 3)
    assert tokenizer.decode(latent).shape == (2, 3, 17, 16, 24)


def test_first_latent_frame_needs_the_first_frame_only(tokenizer: VideoTokenizer) -> None:
    """Would catch a tokenizer that looks ahead in time."""
    video = torch.rand(1, 3, 9, 16, 24) * 2 - 1
    torch.testing.assert_close(tokenizer.encode(video)[:, :, :1], tokenizer.encode(video[:, :, :1]))


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)], ids=["float32", "bfloat16"]
)
def test_short_clips_are_those_that_go_alone(
    tokenizer: VideoTokenizer, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, near: float
) -> None:
    """Would catch clips of a group that are mixed up, or that come in another type."""
    ours = copy.deepcopy(tokenizer).to(dtype)
    video = torch.rand(3, 3, 9, 16, 24) * 2 - 1
    latent = ours.encode(video)
    short = ours.decode(latent)
    assert latent.dtype == short.dtype == dtype
    monkeypatch.setattr(cosmos, "PIXELS_AT_ONCE", 100)
    # One by one, and in float32.
    torch.testing.assert_close(latent.float(), tokenizer.encode(video), rtol=0, atol=near)
    expected = tokenizer.decode(latent.float())
    torch.testing.assert_close(short.float(), expected, rtol=0, atol=near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_clips_may_pass_in_pieces(
    tokenizer: VideoTokenizer, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Would catch pieces of another function or type than the whole."""
    ours, video = copy.deepcopy(tokenizer).to(dtype), torch.rand(2, 3, 17, 16, 24) * 2 - 1
    expected = ours.encode(video)
    decoded = ours.decode(expected)
    monkeypatch.setattr(cosmos, "PIXELS_AT_ONCE", 100)
    ours.latent_frames_at_once = 1
    near = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(ours.encode(video), expected, rtol=0, atol=near)
    torch.testing.assert_close(ours.decode(expected), decoded, rtol=0, atol=near)


def test_normalisation_round_trips_per_latent_frame(tokenizer: VideoTokenizer) -> None:
    """Would catch statistics that are taken from another channel or latent frame."""
    raw = torch.randn(2, 16, 2, 3, 4)
    normal = tokenizer.statistics.normalise(raw)
    expected = SIGMA_DATA * (raw[1, 5, 1] - tokenizer.mean[5, 1]) / tokenizer.std[5, 1]
    torch.testing.assert_close(normal[1, 5, 1], expected)
    torch.testing.assert_close(tokenizer.statistics.denormalise(normal), raw)


def test_bad_sizes_are_refused(tokenizer: VideoTokenizer) -> None:
    """Would catch frames that are dropped in silence, or a clip that the statistics don't cover."""
    with pytest.raises(InputError, match="8k"):
        latent_frames(16)
    with pytest.raises(InputError, match="multiples of 8"):
        tokenizer.encode(torch.zeros(1, 3, 1, 12, 16))
    with pytest.raises(InputError, match="at most 3"):
        tokenizer.statistics.normalise(torch.zeros(1, 16, 4, 2, 2))


@pytest.mark.gpu
def test_bfloat16_follows_float32(tokenizer: VideoTokenizer) -> None:
    """Would catch a part that stays in another type than the convolutions."""
    video = (torch.rand(1, 3, 9, 16, 24) * 2 - 1).cuda()
    exact = copy.deepcopy(tokenizer).cuda().encode(video)
    rounded = copy.deepcopy(tokenizer).to("cuda", torch.bfloat16).encode(video)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05
