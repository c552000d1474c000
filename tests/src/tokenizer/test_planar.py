"""The training's way through the autoencoder against diffusers' own."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from src.tokenizer import planar
from src.tokenizer.cosmos import VideoTokenizer

WIDTHS = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
}


@pytest.fixture(scope="module", params=[1, 2])
def autoencoder(request: pytest.FixtureRequest) -> Iterator[nn.Module]:
    torch.manual_seed(1)
    statistics = torch.zeros(16, 3), torch.ones(16, 3)
    network = VideoTokenizer({**WIDTHS, "num_layers": request.param}, *statistics).autoencoder
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                # Norms and biases that do something.
                parameter.add_(0.3 * torch.randn_like(parameter))
    yield network


def gradients(network: nn.Module, output: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    (output * torch.linspace(0, 1, output.numel()).view(output.shape)).sum().backward()
    return {
        name: part.grad.clone()
        for name, part in network.named_parameters()
        if part.grad is not None
    }


@pytest.mark.parametrize("shape", [(2, 3, 17, 16, 24), (1, 3, 1, 24, 16), (1, 3, 9, 32, 40)])
def test_it_is_the_same_function_with_the_same_gradient(
    autoencoder: nn.Module, shape: tuple[int, ...]
) -> None:
    """A pad, stride, band, norm or attention that differs from diffusers' network."""
    video = torch.rand(shape) * 2 - 1
    theirs = autoencoder.encode(video).latent_dist.mode()
    ours = planar.encode(autoencoder, video)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    latent = theirs.detach()
    decoded, expected = planar.decode(autoencoder, latent), autoencoder.decode(latent).sample
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-4)
    for own, other in ((ours, theirs), (decoded, expected)):
        wanted = gradients(autoencoder, other)
        found = gradients(autoencoder, own)
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            scale = gradient.abs().max()
            assert (found[name] - gradient).abs().max() <= 1e-3 * scale + 1e-5, name


def test_wavelets_are_inverted_exactly() -> None:
    """Bands that come back in another order, or frames that are lost at the start."""
    video = torch.rand(2, 3, 9, 8, 12)
    bands = planar.analyse(video, 4)
    assert bands.shape == (2, 3, 2, 3, 192)
    torch.testing.assert_close(planar.synthesise(bands, 4), video)


def test_many_pixels_attend_in_several_calls(
    autoencoder: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of one call that see those of another, or lose their order."""
    video = torch.rand(2, 3, 17, 16, 24) * 2 - 1
    expected = planar.encode(autoencoder, video)
    monkeypatch.setattr(planar, "MAX_SEQUENCES", 5)
    torch.testing.assert_close(planar.encode(autoencoder, video), expected)


@pytest.mark.gpu
@torch.no_grad()
def test_more_pixels_than_a_launch_takes(autoencoder: nn.Module) -> None:
    """Many clips at once, each of whose pixels attends to its own past: `invalid argument`."""
    network = autoencoder.to("cuda")
    video = torch.rand(40, 3, 9, 256, 448, device="cuda") * 2 - 1
    found = planar.encode(network, video)
    torch.testing.assert_close(found[-1:], planar.encode(network, video[-1:]), rtol=1e-3, atol=1e-3)
    network.to("cpu")


@pytest.mark.gpu
def test_bfloat16_on_the_gpu_is_near(autoencoder: nn.Module) -> None:
    """A part that autocast or channels-last kernels get wrong."""
    network = autoencoder.cuda()
    video = torch.rand(2, 3, 17, 32, 48, device="cuda") * 2 - 1
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found = planar.decode(network, planar.encode(network, video))
    with torch.no_grad():
        wanted = network.decode(network.encode(video).latent_dist.mode()).sample
    network.cpu()
    assert found.dtype == torch.float32
    assert (found - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_pieces_of_a_clip_are_those_of_the_whole(autoencoder: nn.Module, at_once: int) -> None:
    """A convolution over time that does not see the piece before, a frame too many or too few."""
    for frames in (1, 33):
        video = torch.rand(2, 3, frames, 16, 24) * 2 - 1
        with torch.no_grad():
            latent = planar.encode(autoencoder, video)
            pieces = planar.encode(autoencoder, video, at_once)
            torch.testing.assert_close(pieces, latent, rtol=1e-5, atol=1e-6)
            decoded = planar.decode(autoencoder, latent)
            pieces = planar.decode(autoencoder, latent, at_once)
            torch.testing.assert_close(pieces, decoded, rtol=1e-5, atol=1e-5)
