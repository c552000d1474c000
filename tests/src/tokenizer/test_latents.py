"""Pluecker and time maps on their way through an encoder."""

import torch

from src.geometry.cameras import Cameras
from src.geometry.rays import pluecker
from src.tokenizer.latents import (
    TensorCache,
    TimeEncoder,
    encode_pluecker,
    encode_plueckers,
    time_vector,
)


def stride_encoder(video: torch.Tensor) -> torch.Tensor:
    """Every eighth frame, row and column: enough to see what lands where."""
    return video[:, :, ::8, ::8, ::8]


def test_moment_comes_before_direction() -> None:
    """Would catch swapped halves, or time and channel axes exchanged."""
    c2w = torch.eye(4).repeat(9, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, 1, 9)
    cameras = Cameras(c2w, torch.tensor([20.0, 20.0, 12.0, 8.0]).repeat(9, 1), 24, 16)
    latents = encode_pluecker(stride_encoder, cameras)
    maps = pluecker(cameras)
    assert latents.shape == (2, 6, 2, 3)
    torch.testing.assert_close(latents[1], maps[8, :, ::8, ::8])


def test_trajectories_together_are_those_of_each_alone() -> None:
    """Would catch halves or trajectories that change places in a batch."""
    c2w = torch.eye(4).repeat(3, 9, 1, 1)
    c2w[..., :3, 3] = torch.rand(3, 9, 3)
    lens = torch.tensor([20.0, 20.0, 12.0, 8.0]).repeat(3, 9, 1)
    cameras = Cameras(c2w, lens, 24, 16)
    together = encode_plueckers(stride_encoder, cameras)
    alone = [encode_pluecker(stride_encoder, cameras[index]) for index in range(3)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_times_are_encoded_once() -> None:
    """Would catch a cache that misses, or that mixes up two target times."""
    calls = []

    def encode(video: torch.Tensor) -> torch.Tensor:
        calls.append(video.shape[2])
        return stride_encoder(video)

    encoder = TimeEncoder(encode, (16, 24))
    source = [index / 8 for index in range(9)]
    early, late = (torch.cat([encoder(source), encoder([target])]) for target in (0.25, 0.5))
    assert calls == [9, 1, 1]
    assert early.shape == (3, 3, 2, 3)
    torch.testing.assert_close(early[:2], late[:2])
    torch.testing.assert_close(early[2, :, 0, 0], 2 * time_vector(torch.tensor(0.25)) - 1)
    encoder(source)
    encoder([0.5])
    assert calls == [9, 1, 1]


def test_the_latest_stay_within_the_bytes() -> None:
    """A cache that grows without bound, or drops the most recently used."""
    cache = TensorCache(3 * 40)
    for name in "abc":
        cache.add(name, torch.full((10,), float(ord(name))))
    assert cache.bytes == 120 and cache.get("a") is not None
    cache.add("d", torch.zeros(10))
    assert [name for name in "abcd" if cache.get(name) is not None] == ["a", "c", "d"]
    cache.add("large", torch.zeros(31))
    assert cache.get("large") is None and len(cache) == 3
    cache.add("e", torch.zeros(25))
    assert len(cache) == 1 and cache.bytes == 100


def test_nothing_is_kept_in_no_bytes() -> None:
    """A cache that can't be switched off."""
    cache = TensorCache(0)
    cache.add(1, torch.zeros(1))
    assert cache.get(1) is None and cache.bytes == 0
