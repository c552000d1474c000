"""Latent statistics without the autoencoder."""

import json
from pathlib import Path

import pytest
import torch

from src.runtime import InputError
from src.tokenizer.cosmos import SIGMA_DATA, LatentStatistics
from src.tokenizer.loading import load_statistics


def test_shorter_clips_use_the_first_statistics() -> None:
    """Would catch statistics of the last latent frames, or mixed up channels."""
    statistics = LatentStatistics(torch.randn(4, 6), torch.rand(4, 6) + 0.5)
    raw = torch.randn(2, 4, 3, 2, 2)
    normal = statistics.normalise(raw)
    expected = SIGMA_DATA * (raw[1, 2, 1] - statistics.mean[2, 1]) / statistics.std[2, 1]
    torch.testing.assert_close(normal[1, 2, 1], expected)
    torch.testing.assert_close(statistics.denormalise(normal), raw)
    with pytest.raises(InputError, match="at most 6"):
        statistics.normalise(torch.zeros(4, 7, 2, 2))


def test_they_are_read_from_either_file(tmp_path: Path) -> None:
    """Would catch a channel order that differs between the two layouts."""
    mean, std = torch.randn(16, 3), torch.rand(16, 3) + 0.5
    published, ours = tmp_path / "published", tmp_path / "ours"
    published.mkdir()
    ours.mkdir()
    torch.save((mean.flatten(), std.flatten()), published / "mean_std.pt")
    config = {"_class_name": "AutoencoderKLCosmos", "latent_channels": 16}
    config |= {"latents_mean": mean.flatten().tolist(), "latents_std": std.flatten().tolist()}
    (ours / "config.json").write_text(json.dumps(config))
    for folder in (published, ours):
        statistics = load_statistics(folder)
        torch.testing.assert_close(statistics.mean, mean)
        torch.testing.assert_close(statistics.std, std)
    with pytest.raises(InputError, match="mean_std.pt"):
        load_statistics(tmp_path)
