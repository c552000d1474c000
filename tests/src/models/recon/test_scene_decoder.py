"""Scenes through tokenizer and decoder: the same as by hand, and nothing twice."""

from dataclasses import replace

import pytest
import torch
from tiny_scene import (
    ARCHITECTURE,
    DECODER,
    FOCAL,
    FRAMES,
    HEIGHT,
    WIDTH,
    tiny_decoder,
    tiny_tokenizer,
)
from torch import Tensor

from src.geometry.cameras import Cameras
from src.geometry.rays import coarse_rays, pluecker
from src.models.data.example import Example, Targets
from src.models.recon.decoder import LatentRecon
from src.models.recon.scene_decoder import SceneDecoder, cast_trunk, floating_type
from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer

TIMES = torch.arange(FRAMES) / (FRAMES - 1)


class CountingTokenizer(VideoTokenizer):
    """Counts the frames of every clip that it encodes."""

    def __init__(self) -> None:
        super().__init__(ARCHITECTURE, torch.zeros(16, 2), torch.ones(16, 2))
        self.requires_grad_(False).eval()
        self.clips: list[int] = []

    def encode(self, video: Tensor) -> Tensor:
        self.clips += [video.shape[2]] * len(video)
        return super().encode(video)


def example(latents: Tensor | None, video: Tensor | None = None, count: int = 2) -> Example:
    generator = torch.Generator().manual_seed(1)
    c2w = torch.eye(4).repeat(count, FRAMES, 1, 1)
    c2w[..., :3, 3] = torch.randn(count, FRAMES, 3, generator=generator) * 0.1
    intrinsics = torch.tensor([FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]).expand(count, FRAMES, 4)
    cameras = Cameras(c2w, intrinsics, WIDTH, HEIGHT)
    targets = Targets(cameras[0], torch.zeros(FRAMES).long(), torch.arange(FRAMES))
    names = tuple(str(index) for index in range(count))
    return Example("scene", names, cameras, latents, video, TIMES, None, targets)


def raw_latents(count: int = 2) -> Tensor:
    return torch.randn(count, 16, 2, 4, 6, generator=torch.Generator().manual_seed(2))


def by_hand(model: LatentRecon, latents: Tensor, cameras: Cameras, time: float | None) -> Tensor:
    """The published steps in their plain form: every map at once, time maps spelled out."""
    encode = tiny_tokenizer_of_seed().encode
    maps = pluecker(cameras).transpose(1, 2)
    encoded = torch.cat([encode(maps[:, :3]), encode(maps[:, 3:])], dim=1).transpose(1, 2)
    origins, directions = coarse_rays(cameras)
    times = None
    if time is not None:
        taus = torch.cat([TIMES, torch.tensor([time])])
        vectors = torch.stack([taus, taus.cos(), taus.sin()])
        video = (2 * vectors - 1)[None, :, :, None, None].expand(-1, -1, -1, HEIGHT, WIDTH)
        parts = (video[:, :, :-1], video[:, :, -1:])
        source, target = (encode(part.contiguous()).transpose(1, 2) for part in parts)
        times = (source, target)
    inputs = (latents.transpose(1, 2)[None], encoded[None], origins[None], directions[None])
    return model(*inputs, time=times).gaussians.packed()[0]


def tiny_tokenizer_of_seed() -> VideoTokenizer:
    torch.manual_seed(7)
    return tiny_tokenizer()


@pytest.mark.parametrize("dynamic", [False, True])
@torch.no_grad()
def test_a_prepared_scene_decodes_as_by_hand(dynamic: bool) -> None:
    """Latents not transposed, moments after directions, a wrong target time, rays mixed up."""
    model = tiny_decoder(dynamic).eval()
    decoder = SceneDecoder(model, tiny_tokenizer_of_seed())
    scene = example(raw_latents())
    prepared = decoder.prepare(scene)
    for time in (0.0, 0.625) if dynamic else (None,):
        expected = by_hand(model, raw_latents(), scene.cameras, time)
        found = decoder.gaussians(prepared, time).packed()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dynamic", [False, True])
def test_warming_up_decodes_one_trajectory_of_the_same_length(dynamic: bool) -> None:
    """Kernels tuned for other tokens than a scene's, or a tokenizer that is loaded for nothing."""
    tokenizer, model = CountingTokenizer(), tiny_decoder(dynamic).eval()
    decoder, shapes = SceneDecoder(model, tokenizer), []
    model.enc_blocks[-1].register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    decoder.warm_up(FRAMES, (HEIGHT, WIDTH))
    assert not tokenizer.clips
    decoder.gaussians(decoder.prepare(example(raw_latents())), 0.5 if dynamic else None)
    (one, tokens, width), scene = shapes
    assert scene == (one, 2 * tokens, width)


@torch.no_grad()
def test_another_time_encodes_one_frame_only() -> None:
    """A bullet-time loop that encodes rays or source times again, or a known time twice."""
    tokenizer = CountingTokenizer()
    decoder = SceneDecoder(tiny_decoder(dynamic=True).eval(), tokenizer)
    prepared = decoder.prepare(example(raw_latents()))
    # Moments and directions of two trajectories, then the source times.
    assert tokenizer.clips == [FRAMES] * 5
    first = decoder.gaussians(prepared, 0.25)
    second = decoder.gaussians(prepared, 0.5)
    again = decoder.gaussians(prepared, 0.25)
    assert tokenizer.clips[5:] == [1, 1]
    assert torch.equal(first.packed(), again.packed())
    assert not torch.equal(first.packed(), second.packed())
    decoder.prepare(example(raw_latents()))
    assert tokenizer.clips[7:] == [FRAMES] * 4


@torch.no_grad()
def test_pictures_are_encoded_where_there_are_no_latents() -> None:
    """Pictures whose latents are normalised, or whose trajectories change places."""
    tokenizer = tiny_tokenizer_of_seed()
    decoder = SceneDecoder(tiny_decoder().eval(), tokenizer)
    video = torch.rand(2, 3, FRAMES, HEIGHT, WIDTH) * 2 - 1
    latents = tokenizer.encode(video)
    found = decoder.gaussians(decoder.prepare(example(None, video)))
    expected = decoder.gaussians(decoder.prepare(example(latents)))
    torch.testing.assert_close(found.packed(), expected.packed())


def test_gradients_reach_all_weights_but_the_tokenizer() -> None:
    """Embeddings prepared without gradients, so that training leaves them as they are."""
    model = tiny_decoder(dynamic=True)
    decoder = SceneDecoder(model, tiny_tokenizer_of_seed())
    gaussians = decoder.gaussians(decoder.prepare(example(raw_latents())), 0.5)
    gaussians.packed().square().sum().backward()
    missing = [name for name, part in model.named_parameters() if part.grad is None]
    assert not missing
    assert all(part.grad is None for part in decoder.tokenizer.parameters())


@torch.no_grad()
def test_parity_follows_bfloat16_and_fp32_does_not() -> None:
    """`precision` that reaches the head but not the rays, or the other way round."""
    torch.manual_seed(0)
    state = tiny_decoder().state_dict()
    scenes = {}
    for precision in ("fp32", "parity"):
        model = LatentRecon(replace(DECODER, precision=precision, prune_ratio=0.0))
        model.load_state_dict(state)
        decoder = SceneDecoder(cast_trunk(model, torch.bfloat16), tiny_tokenizer_of_seed())
        assert decoder.dtype == torch.bfloat16
        prepared = decoder.prepare(example(raw_latents()))
        rays = torch.float32 if precision == "fp32" else torch.bfloat16
        assert prepared.directions.dtype == rays
        scenes[precision] = decoder.gaussians(prepared)
        assert scenes[precision].means.dtype == rays
    exact, rounded = (scenes[name].means.float() for name in ("fp32", "parity"))
    assert 1e-4 < ((exact - rounded).norm() / exact.norm()).item() < 0.1


def test_types_by_name() -> None:
    """A CPU run in bfloat16 by default, which is slow and loses figures."""
    assert floating_type("auto", torch.device("cpu")) == torch.float32
    assert floating_type("auto", torch.device("cuda", 1)) == torch.bfloat16
    assert floating_type("bfloat16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize(
    "shape", [(2, 16, 3, 4, 6), (2, 16, 2, 4, 8), (2, 8, 2, 4, 6), (1, 16, 2, 4, 6)]
)
def test_latents_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    """Latents that are reshaped, or fail deep inside the network."""
    decoder = SceneDecoder(tiny_decoder(), tiny_tokenizer())
    scene = example(torch.zeros(2, *shape[1:]) if shape[0] == 2 else torch.zeros(shape))
    with pytest.raises(InputError, match=r"\(2, 16, 2, 4, 6\) for 9 frames of 32x48 pixels"):
        decoder.prepare(scene)


@pytest.mark.parametrize(
    ("dynamic", "time"), [(False, 0.5), (True, None), (True, -0.01), (True, 1.01)]
)
def test_unfit_times_are_refused(dynamic: bool, time: float | None) -> None:
    """A time that a static decoder ignores, or that a dynamic one was never trained on."""
    decoder = SceneDecoder(tiny_decoder(dynamic), tiny_tokenizer())
    prepared = decoder.prepare(example(raw_latents()))
    with pytest.raises(InputError, match="target time"):
        decoder.gaussians(prepared, time)
