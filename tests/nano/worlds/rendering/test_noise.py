import torch

from nano.worlds.rendering.noise import SIZE, noise_volume, sample_noise


def test_noise_is_periodic_continuous_and_of_unit_variance() -> None:
    """Catches seams at the period, and a swap of axes or a shift by half a voxel."""
    volume, position = noise_volume(torch.device("cpu")), torch.rand(3, 1, 500)
    value = sample_noise(volume, position)
    torch.testing.assert_close(sample_noise(volume, position + 3), value, atol=2e-4, rtol=0)
    near = sample_noise(volume, position + 1e-4)
    assert (near - value).abs().max() < 0.02
    assert 0.6 < value.std() < 1.4
    assert value.abs().max() <= 2.0001


def test_noise_at_a_voxel_is_the_volume() -> None:
    """Catches coordinates that reach the volume in the wrong order."""
    volume = noise_volume(torch.device("cpu"))
    voxel = torch.tensor([5, 40, 17])
    value = sample_noise(volume, (voxel / SIZE)[:, None, None])
    # The sampler's first volume axis is the last of its coordinates.
    torch.testing.assert_close(value[:, 0, 0], volume[0, :, 17, 40, 5], atol=1e-4, rtol=0)
