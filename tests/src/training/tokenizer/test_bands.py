"""The start of a new tokenizer: whitened bands and silent branches."""

import torch
from torch import Tensor

from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.network import Autoencoder
from src.tokenizer.wavelets import analyse
from src.training.tokenizer.guided import (
    DECODED_SHARE,
    LEAST_BAND_STD,
    band_statistics,
    silence_branches,
    whiten_bands,
)

ARCHITECTURE = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 8, 16, 16),
    "num_layers": 1,
    "latent_channels": 4,
}


def network() -> Autoencoder:
    mean = torch.zeros(4, 3)
    return VideoTokenizer(ARCHITECTURE, mean, torch.ones_like(mean)).autoencoder


def smooth_videos() -> Tensor:
    """Bands of very unlike loudness, and a mean that is not zero."""
    video = torch.randn(6, 3, 17, 32, 48).cumsum(3).cumsum(4) / 40 + 0.2
    return video + 0.01 * torch.randn_like(video)


def test_whitened_bands_have_mean_0_and_deviation_1() -> None:
    """Statistics that are summed wrongly, or in another order than that of the bands."""
    video = smooth_videos()
    statistics = band_statistics(video.split(2), 4)
    bands = analyse(video, 4)[:, 1:]
    white = ((bands - statistics.mean) / statistics.std).flatten(0, 3)
    heard = statistics.std > LEAST_BAND_STD
    assert heard.sum() > 150 and statistics.std.max() / statistics.std.min() > 20
    torch.testing.assert_close(white.mean(0), torch.zeros(192), atol=2e-3, rtol=0)
    torch.testing.assert_close(white.std(0)[heard], torch.ones(192)[heard], atol=1e-2, rtol=0)


def test_one_picture_has_statistics_too() -> None:
    """A division by the no frames that follow the first."""
    assert band_statistics([smooth_videos()[:, :, :1]], 4).std.isfinite().all()


def test_the_first_convolution_sees_whitened_bands() -> None:
    """Weights that are multiplied, a mean that is added, or one that is not divided."""
    video = smooth_videos()
    statistics = band_statistics([video], 4)
    bands = analyse(video, 4)
    whitened = (bands - statistics.mean) / statistics.std
    autoencoder = network()
    first = autoencoder.encoder.conv_in.conv_s
    wanted = first(whitened)
    whiten_bands(autoencoder, statistics)
    found = first(bands)
    # At the border the padding's zeros stand for other values.
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-3, atol=1e-3)


def test_the_last_convolution_gives_bands_as_loud_as_they_are() -> None:
    """Columns that are scaled instead of rows, or a mean that is scaled, too."""
    statistics = band_statistics([smooth_videos()], 4)
    autoencoder = network()
    last = autoencoder.decoder.conv_out.conv_t
    before = last.weight.clone()
    whiten_bands(autoencoder, statistics)
    for band in (0, 3, 100, 191):
        wanted = before[band] * statistics.std[band] * DECODED_SHARE
        torch.testing.assert_close(last.weight[band], wanted)
    assert torch.equal(last.bias, statistics.mean)


def test_silent_branches_leave_the_path_of_shortcuts() -> None:
    """A branch that was forgotten, or a shortcut that was silenced."""
    autoencoder = network()
    silence_branches(autoencoder)
    for part in (autoencoder.encoder, autoencoder.decoder):
        x = torch.randn(2, 3, 4, 6, 16)
        assert torch.equal(part.mid_block(x), x)
        for block in (*getattr(part, "down_blocks", ()), *getattr(part, "up_blocks", ())):
            for resnet in block.resnets:
                width = resnet.norm1.norm.num_channels
                x = torch.randn(1, 2, 4, 4, width)
                assert torch.equal(resnet(x), resnet.conv_shortcut(x))
    # What is silent still learns: its last layers have gradients.
    video = torch.randn(1, 3, 9, 32, 32)
    autoencoder.decode(autoencoder.encode(video)).square().mean().backward()
    silent = [p for p in autoencoder.parameters() if not p.any() and p.ndim > 1]
    assert silent and all(p.grad is not None and p.grad.any() for p in silent)
