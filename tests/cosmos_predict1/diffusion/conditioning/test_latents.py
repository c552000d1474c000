"""Condition latents: their channels, what is missing, and the first frame."""

import pytest
import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import Warps
from cosmos_predict1.diffusion.conditioning.latents import (
    augment_warps,
    condition_latents,
    condition_mask,
    first_frame_image,
    first_frame_latent,
    latent_encoder,
    mask_video,
)
from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer

FRAMES, HEIGHT, WIDTH = 9, 16, 24


def encode(video: Tensor) -> Tensor:
    """A causal stand-in with two channels: means of the first and of the last colour."""
    assert video.shape[:2] == (1, 3)
    small = torch.nn.functional.avg_pool3d(video[:, ::2], (1, 8, 8))
    later = small[:, :, 1:].unflatten(2, (-1, 8)).mean(dim=3)
    return torch.cat([small[:, :, :1], later], dim=2)


def warps(buffers: int) -> Warps:
    image = torch.rand(buffers, FRAMES, 3, HEIGHT, WIDTH) * 2 - 1
    mask = torch.rand(buffers, FRAMES, HEIGHT, WIDTH) > 0.5
    return Warps(image, mask, torch.zeros(mask.shape))


@pytest.mark.parametrize("buffers", [1, 2, 3])
def test_channels_are_warp_and_mask_buffer_by_buffer(buffers: int) -> None:
    """Catches another order, masks in [0, 1], and missing buffers that are encoded."""
    given = warps(buffers)
    latents = condition_latents(encode, given, max_buffers=3)
    assert latents.shape == (1, 12, 2, HEIGHT // 8, WIDTH // 8)
    for index in range(buffers):
        ours = latents[:, 4 * index : 4 * index + 4]
        video = given.image[index].transpose(0, 1)[None]
        torch.testing.assert_close(ours[:, :2], encode(video))
        first = 2 * given.mask[index, 0].float() - 1
        cells = first.reshape(2, 8, 3, 8).mean(dim=(1, 3))
        torch.testing.assert_close(ours[0, 2:, 0], cells.expand(2, -1, -1))
    assert (latents[:, 4 * buffers :] == 0).all()


def test_more_buffers_than_the_network_takes_are_refused() -> None:
    """Catches channels beyond those of the network's weights."""
    with pytest.raises(InputError, match="got 3"):
        condition_latents(encode, warps(3))


def test_masks_are_grey_videos() -> None:
    """Catches a mask that colours see differently."""
    video = mask_video(torch.tensor([[[[True, False]]]]), torch.float32)
    assert video.shape == (1, 3, 1, 1, 2)
    assert video[0, :, 0, 0].tolist() == [[1, -1]] * 3


def test_the_mask_marks_the_given_frames() -> None:
    """Catches a mask of the wrong frames, type or number of channels."""
    latents = torch.rand(1, 64, 3, 2, 4)
    assert condition_mask(latents)[0, 0].mean(dim=(1, 2)).tolist() == [1, 0, 0]
    assert condition_mask(latents, given=2)[0, 0].mean(dim=(1, 2)).tolist() == [1, 1, 0]


def test_the_first_latent_frame_does_not_see_the_rest() -> None:
    """Catches an encoder that is not causal, for which one frame alone would not do."""
    channels = (16, 32, 32, 32)
    tokenizer = VideoTokenizer(
        {
            "encoder_block_out_channels": channels,
            "decode_block_out_channels": channels,
            "num_layers": 1,
        },
        torch.randn(16, 2),
        torch.rand(16, 2) + 0.5,
    ).eval()
    frame = torch.rand(3, HEIGHT, WIDTH) * 2 - 1
    rest = torch.zeros(3, 8, HEIGHT, WIDTH)
    ours = latent_encoder(tokenizer)
    with torch.inference_mode():
        alone = first_frame_latent(ours, frame)
        padded = ours(torch.cat([frame[:, None], rest], dim=1)[None])
    assert alone.shape == (1, 16, 1, HEIGHT // 8, WIDTH // 8)
    torch.testing.assert_close(alone, padded[:, :, :1], atol=1e-5, rtol=1e-5)


def test_the_first_frame_is_scaled_as_its_weights_want() -> None:
    """Catches the two scalings exchanged: white is 0.992 or 1."""
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 3, 1).repeat(1, 1, 3)
    published = first_frame_image(image, 1, 3)
    assert published[0, 0].tolist() == [-1, 0, 0.9921875]
    consistent = first_frame_image(image, 1, 3, "consistent")
    assert consistent[0, 0, 2] == 1 and consistent[0, 0, 0] == -1


def test_shrinking_the_first_frame_averages() -> None:
    """Catches a resize without antialiasing: fine stripes would become one of their colours."""
    image = torch.zeros(64, 96, 3, dtype=torch.uint8)
    image[:, ::2] = 255
    small = first_frame_image(image, 16, 24)
    assert small.shape == (3, 16, 24)
    assert (small[:, :, 2:-2].abs() < 0.05).all()


def test_noise_grows_towards_the_newest_buffer() -> None:
    """Catches noise on the original picture, or on a single buffer."""
    given = warps(3)
    noisy = augment_warps(given, 0.1, torch.Generator().manual_seed(3))
    deviation = [(noisy.image[k] - given.image[k]).std().item() for k in range(3)]
    assert deviation == pytest.approx([0.2, 0.1, 0.0], rel=0.05)
    again = augment_warps(given, 0.1, torch.Generator().manual_seed(3))
    assert torch.equal(again.image, noisy.image) and torch.equal(again.mask, given.mask)
    single = warps(1)
    assert augment_warps(single, 0.5, torch.Generator()) is single
    assert augment_warps(given, 0.0, torch.Generator()) is given
    with pytest.raises(InputError, match="noise_aug_strength"):
        augment_warps(given, -1.0, torch.Generator())
