"""The linear code of videos."""

import torch
from torch import Tensor

from src.training.tokenizer.guided import LinearCode, fit_code, guidance_loss, video_blocks


def decode(code: LinearCode, encoded: Tensor) -> Tensor:
    return (encoded.movedim(1, -1) * code.std) @ code.basis.mT + code.mean


def test_blocks_are_8x8_pixels_of_the_first_frame_and_of_means_of_eight() -> None:
    """Rows for columns, a mean that takes in the first frame, another order of positions."""
    video = torch.randn(2, 3, 17, 16, 24)
    blocks = video_blocks(video)
    assert blocks.shape == (2, 3, 2, 3, 192)
    for time, row, column in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (2, 1, 0)):
        frames = slice(0, 1) if time == 0 else slice(8 * time - 7, 8 * time + 1)
        rows, columns = (slice(8 * k, 8 * k + 8) for k in (row, column))
        wanted = video[1, :, frames, rows, columns].mean(1).flatten()
        torch.testing.assert_close(blocks[1, time, row, column], wanted)


def test_the_code_of_known_data_is_exact() -> None:
    """Components in another order or not divided by their deviations, a mean that stays in."""
    directions = torch.linalg.qr(torch.randn(192, 3)).Q
    # Uncorrelated coefficients of deviation 1, exactly.
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).float()
    deviations, mean = torch.tensor([3.0, 1.0, 0.2]), torch.randn(192)
    blocks = (signs * deviations) @ directions.mT + mean
    # Four clips of one picture of one block.
    video = blocks.view(4, 3, 8, 8)[:, :, None]
    code = fit_code(video.split(1), 3)
    torch.testing.assert_close(code.std, deviations, rtol=1e-4, atol=1e-4)
    found = code.encode(video)[:, :, 0, 0, 0]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    torch.testing.assert_close(found, signs * largest, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(decode(code, code.encode(video)).flatten(0, 3), blocks)
    assert guidance_loss(code.encode(video), video, code) == 0
    torch.testing.assert_close(
        guidance_loss(code.encode(video) + 2, video, code), torch.tensor(4.0)
    )


def test_the_code_keeps_as_much_as_the_best_linear_one() -> None:
    """Directions of least variance, or a code of blocks that are not centred."""
    video = torch.randn(3, 3, 9, 32, 32).cumsum(3).cumsum(4) / 20 + 0.5
    code = fit_code(video.split(2), 16)
    encoded, blocks = code.encode(video), video_blocks(video)
    error = (decode(code, encoded) - blocks).flatten(0, 3)
    centred = blocks.flatten(0, 3) - blocks.flatten(0, 3).mean(0)
    lost = torch.linalg.svdvals(centred)[16:].square().sum()
    torch.testing.assert_close(error.square().sum(), lost, rtol=1e-3, atol=1e-3)
    flat = encoded.movedim(1, -1).flatten(0, 3)
    torch.testing.assert_close(flat.mT @ flat / len(flat), torch.eye(16), rtol=0, atol=1e-2)


def test_the_code_is_a_function_of_the_blocks_alone() -> None:
    """A resumed run whose latents are led to the mirrored code."""
    video = torch.randn(4, 3, 9, 16, 16).cumsum(4) / 4
    one, other = fit_code(video.split(1), 8), fit_code(video.flip(0).split(3), 8)
    torch.testing.assert_close(one.basis, other.basis, rtol=1e-3, atol=1e-4)


def test_a_component_without_change_is_no_division_by_zero() -> None:
    """Numbers that are not finite where all clips are grey."""
    video = torch.full((1, 3, 9, 16, 16), 0.3)
    assert fit_code([video], 4).encode(video).isfinite().all()
