"""The autoencoder's network against diffusers' own, and clips in pieces."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from src.runtime import InputError
from src.tokenizer import layers
from src.tokenizer.architecture import Architecture
from src.tokenizer.network import Autoencoder
from src.tokenizer.wavelets import analyse, synthesise

SIZES: dict[str, Any] = {
    "encoder_block_out_channels": (8, 12, 16, 20),
    "decode_block_out_channels": (8, 16, 16, 12),
}


def diffusers_network(architecture: Architecture) -> Any:
    """diffusers' class with new weights."""
    from diffusers import AutoencoderKLCosmos

    return AutoencoderKLCosmos(**cast(Any, vars(architecture)))


@pytest.fixture(scope="module", params=[1, 2])
def autoencoder(request: pytest.FixtureRequest) -> Autoencoder:
    torch.manual_seed(1)
    built = Autoencoder(Architecture(**SIZES, num_layers=request.param))
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim == 1:
                # Norms and biases that do something.
                parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def gradients(part: nn.Module, output: Tensor) -> dict[str, Tensor]:
    part.zero_grad()
    (output * torch.linspace(0, 1, output.numel()).view(output.shape)).sum().backward()
    return {
        name: weight.grad.clone()
        for name, weight in part.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {**SIZES, "num_layers": 1, "latent_channels": 4},
        {**SIZES, "spatial_compression_ratio": 16},
        {**SIZES, "spatial_compression_ratio": 16, "temporal_compression_ratio": 4},
        {**SIZES, "patch_size": 2},
    ],
    ids=str,
)
def test_weights_have_the_names_shapes_and_order_of_diffusers(sizes: dict[str, Any]) -> None:
    """A tensor that a published file lacks, or a training that goes on with swapped moments."""
    # Not on the meta device: the imported module keeps wavelets as tensors.
    import diffusers.models.autoencoders.autoencoder_kl_cosmos  # noqa: F401

    architecture = Architecture(**sizes)
    with torch.device("meta"):
        ours, theirs = Autoencoder(architecture), diffusers_network(architecture)
    found, wanted = (
        [(name, part.shape) for name, part in built.named_parameters()] for built in (ours, theirs)
    )
    assert found == wanted and ours.state_dict().keys() == theirs.state_dict().keys()


def test_random_weights_are_those_of_diffusers() -> None:
    """Parts that draw their first weights in another order: other trainings of the same seed."""
    built = []
    for make in (Autoencoder, diffusers_network):
        torch.manual_seed(3)
        built.append(make(Architecture(**SIZES, num_layers=1)).state_dict())
    assert all(torch.equal(built[0][name], tensor) for name, tensor in built[1].items())


@pytest.mark.parametrize("shape", [(2, 3, 17, 16, 24), (1, 3, 1, 24, 16), (1, 3, 9, 32, 40)])
def test_it_is_the_same_function_with_the_same_gradient(
    autoencoder: Autoencoder, shape: tuple[int, ...]
) -> None:
    """A pad, stride, band, norm or attention that differs from diffusers' network."""
    peer = diffusers_network(autoencoder.architecture)
    peer.load_state_dict(autoencoder.state_dict())
    video = torch.rand(shape) * 2 - 1
    theirs = peer.encode(video).latent_dist.mode()
    ours = autoencoder.encode(video)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    latent = theirs.detach()
    decoded, expected = autoencoder.decode(latent), peer.decode(latent).sample
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-4)
    for own, other in ((ours, theirs), (decoded, expected)):
        wanted, found = gradients(peer, other), gradients(autoencoder, own)
        assert found.keys() == wanted.keys()
        largest = max(gradient.abs().max() for gradient in wanted.values())
        for name, gradient in wanted.items():
            # Some gradients cancel nearly to 0, by the rounding of much larger parts.
            near = 1e-3 * gradient.abs().max() + 1e-7 * largest
            assert (found[name] - gradient).abs().max() <= near, name


@torch.no_grad()
@pytest.mark.parametrize("ratios", [(16, 8), (16, 16), (8, 16), (8, 4)])
def test_other_compressions_are_those_of_diffusers(ratios: tuple[int, int]) -> None:
    """Stages that halve or double another axis."""
    space, time = ratios
    sizes = {"spatial_compression_ratio": space, "temporal_compression_ratio": time}
    ours = Autoencoder(Architecture(**SIZES, num_layers=1, **sizes))
    peer = diffusers_network(ours.architecture)
    peer.load_state_dict(ours.state_dict())
    video = torch.rand(1, 3, 33, 32, 32) * 2 - 1
    latent = peer.encode(video).latent_dist.mode()
    torch.testing.assert_close(ours.encode(video), latent, rtol=1e-4, atol=1e-5)
    decoded = peer.decode(latent).sample
    torch.testing.assert_close(ours.decode(latent), decoded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"patch_type": "rearrange"}, r"patch_type.*'rearrange'.*'haar'"),
        ({"attention_resolutions": (32, 128)}, "no attention outside of the middle"),
        ({"patch_size": 3}, "powers of two"),
        ({"spatial_compression_ratio": 2}, "none below the patch"),
    ],
)
def test_what_the_network_does_not_have_is_refused(sizes: dict[str, Any], message: str) -> None:
    """A published variant that is read as if it were this one."""
    with pytest.raises(InputError, match=message):
        Architecture(**sizes)


def test_wavelets_are_inverted_exactly() -> None:
    """Bands that come back in another order, or frames that are lost at the start."""
    video = torch.rand(2, 3, 9, 8, 12)
    bands = analyse(video, 4)
    assert bands.shape == (2, 3, 2, 3, 192)
    torch.testing.assert_close(synthesise(bands, 4), video)


def test_many_pixels_attend_in_several_calls(
    autoencoder: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of one call that see those of another, or lose their order."""
    video = torch.rand(2, 3, 17, 16, 24) * 2 - 1
    expected = autoencoder.encode(video)
    monkeypatch.setattr(layers, "MAX_SEQUENCES", 5)
    torch.testing.assert_close(autoencoder.encode(video), expected)


@pytest.mark.gpu
@torch.no_grad()
def test_more_pixels_than_a_launch_takes(autoencoder: Autoencoder) -> None:
    """Many clips at once, each of whose pixels attends to its own past: `invalid argument`."""
    built = autoencoder.to("cuda")
    video = torch.rand(40, 3, 9, 256, 448, device="cuda") * 2 - 1
    found = built.encode(video)
    torch.testing.assert_close(found[-1:], built.encode(video[-1:]), rtol=1e-3, atol=1e-3)
    built.to("cpu")


@pytest.mark.gpu
def test_bfloat16_on_the_gpu_is_near(autoencoder: Autoencoder) -> None:
    """A part that autocast or channels-last kernels get wrong."""
    built = autoencoder.cuda()
    video = torch.rand(2, 3, 17, 32, 48, device="cuda") * 2 - 1
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found = built.decode(built.encode(video))
    with torch.no_grad():
        wanted = built.decode(built.encode(video))
    built.cpu()
    assert found.dtype == torch.float32
    assert (found - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_pieces_of_a_clip_are_those_of_the_whole(autoencoder: Autoencoder, at_once: int) -> None:
    """A convolution over time that does not see the piece before, a frame too many or too few."""
    for frames in (1, 33):
        video = torch.rand(2, 3, frames, 16, 24) * 2 - 1
        with torch.no_grad():
            latent = autoencoder.encode(video)
            pieces = autoencoder.encode(video, at_once)
            torch.testing.assert_close(pieces, latent, rtol=1e-5, atol=1e-6)
            decoded = autoencoder.decode(latent)
            pieces = autoencoder.decode(latent, at_once)
            torch.testing.assert_close(pieces, decoded, rtol=1e-5, atol=1e-5)
