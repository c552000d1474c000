"""Samples of clips: what is drawn, recoloured, and encoded beside pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nano.data.clips import world_trajectories
from src.geometry.cameras import Cameras
from src.geometry.rays import pluecker
from src.training.tokenizer.clips import WholeClips
from src.training.tokenizer.config import TokenizerAugmentConfig
from src.training.tokenizer.data import (
    Window,
    color_rotations,
    draw_samples,
    draw_window,
    known_pixels,
    mask_videos,
    ray_videos,
    recolor,
    time_videos,
    with_holes,
)

PLAIN = {
    name: 0.0 for name, value in vars(TokenizerAugmentConfig()).items() if isinstance(value, float)
}
FRAMES, SIZE, CROP = 5, (16, 24), (8, 16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int) -> torch.Tensor:
    """Clips whose colour says frame, row and column."""
    frame, row, column = torch.meshgrid(*map(torch.arange, (FRAMES, *SIZE)), indexing="ij")
    return torch.stack([frame, row, column]).to(torch.uint8).expand(count, -1, -1, -1, -1)


def test_colour_rotations_are_orthonormal_and_keep_grey() -> None:
    """An augmentation that changes contrast, tints greys, or never exchanges colours."""
    found = color_rotations(64, generator())
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand(64, 3, 3))
    torch.testing.assert_close(found @ torch.ones(3), torch.ones(64, 3))
    determinants = torch.linalg.det(found).round()
    assert (determinants == 1).any() and (determinants == -1).any()
    assert found[:, 0, 0].max() > 0.9 and found[:, 0, 1].max() > 0.9


def test_recoloured_clips_stay_in_range_and_others_as_they_are() -> None:
    """Colours beyond what a file can hold, or a share that is not heeded."""
    config = TokenizerAugmentConfig()
    clips = torch.rand(40, 3, 2, 4, 4)
    assert recolor(clips, 0.0, config, generator()).equal(clips)
    changed = recolor(clips, 0.5, config, generator())
    assert changed.min() >= 0 and changed.max() <= 1
    same = (changed == clips).flatten(1).all(1).float().mean()
    assert 0.2 < same < 0.8
    grey = torch.full((8, 3, 1, 2, 2), 0.5)
    tinted = recolor(grey, 1.0, config, generator())
    torch.testing.assert_close(tinted, tinted[:, :1].expand_as(tinted))


@pytest.mark.parametrize("kind", ["reversed", "still", "mirrored", "paused", None])
def test_windows_show_a_part_as_they_are_told(kind: str | None) -> None:
    """Parts that leave the clip, jump, or whose time, rows and columns are mixed up."""
    config = TokenizerAugmentConfig(**{**PLAIN, **({kind: 1.0} if kind else {})})
    clips = numbered(32)
    window = draw_window((32, FRAMES, *SIZE), CROP, config, generator())
    shown = window.of(clips).long()
    assert shown.shape == (32, 3, FRAMES, *CROP)
    time, row, column = shown[:, 0, :, 0, 0], shown[:, 1, 0, :, 0], shown[:, 2, 0, 0]
    assert (row.diff() == 1).all()
    assert (column.diff() == (-1 if kind == "mirrored" else 1)).all()
    assert row[:, 0].unique().numel() > 4 and column[:, 0].unique().numel() > 4
    if kind == "still":
        assert (time.diff() == 0).all() and time[:, 0].unique().numel() == FRAMES
    elif kind == "paused":
        steps = time.diff()
        assert (time[:, 0] == 0).all() and ((steps == 0) | (steps == 1)).all()
        assert (steps.diff() >= 0).all() and (steps == 0).any() and (steps == 1).any()
    else:
        assert (time.diff() == (-1 if kind == "reversed" else 1)).all()


def test_ray_videos_are_parts_of_pluecker_maps() -> None:
    """Rays of other frames, pixels or clips than the window's, or not relative to the start."""
    c2w = torch.stack([world_trajectories(seed, FRAMES, False)[4] for seed in range(8)])
    shifted = c2w[:, :1].clone()
    shifted[:, :, :3, 3] += 3
    intrinsics = torch.tensor([30.0, 30, 12, 8]).expand(8, FRAMES, 4)
    cameras = Cameras(shifted @ c2w, intrinsics, SIZE[1], SIZE[0])
    config = TokenizerAugmentConfig(**{**PLAIN, "reversed": 0.5})
    window = draw_window((8, FRAMES, *SIZE), CROP, config, generator())
    found = ray_videos(cameras, window, generator())
    maps = pluecker(replace(cameras, c2w=c2w))
    halves = set()
    for index in range(8):
        rows, columns = window.row[index], window.column[index]
        whole = maps[index, window.frame[index]][:, :, rows][..., columns].transpose(0, 1)
        matches = [torch.allclose(found[index], half, atol=1e-4) for half in whole.split(3)]
        assert any(matches)
        halves.add(matches.index(True))
    assert halves == {0, 1}


def test_masks_are_whole_at_first_and_holes_are_black() -> None:
    """Holes in the first frame, masks without any, or warps with other values in their holes."""
    known = known_pixels((32, FRAMES, *SIZE), generator())
    assert known[:, 0].all()
    share = known[:, -1].float().mean(dim=(1, 2))
    assert 0.3 < share.mean() < 0.95 and share.std() > 0.05
    assert set(mask_videos(known).unique().tolist()) == {-1.0, 1.0}
    video = torch.rand(32, 3, FRAMES, *SIZE)
    holed = with_holes(video, known)
    spread = known[:, None].expand_as(video)
    assert (holed[~spread] == -1).all() and holed[spread].equal(video[spread])


def test_time_videos_are_constant_colours() -> None:
    """Colours that depend on the pixel, or whose first channel is not the time."""
    found = time_videos((16, FRAMES, 4, 4), generator())
    assert (found == found[..., :1, :1]).all()
    time = (found[:, 0, :, 0, 0] + 1) / 2
    torch.testing.assert_close(found[:, 1, :, 0, 0], 2 * time.cos() - 1)
    running = time.diff().abs().sum(1) > 0
    assert running.any() and not running.all()


def test_samples_are_reproducible_and_of_all_kinds() -> None:
    """Batches that differ after a resume, or kinds of samples that get lost on joining."""
    poses = torch.eye(4).expand(12, FRAMES, 4, 4)
    cameras = Cameras(poses, torch.tensor([20.0, 20, 12, 8]).expand(12, FRAMES, 4), *SIZE[::-1])
    clips = WholeClips(torch.full((12, 3, FRAMES, *SIZE), 200, dtype=torch.uint8), cameras, [])
    shares = {"pluecker": 0.25, "masks": 0.25, "times": 0.25, "holes": 0.2}
    config = TokenizerAugmentConfig(**{**PLAIN, **shares})
    seed = np.random.SeedSequence([1, 2])
    found = draw_samples(clips, CROP, config, 0.0, seed)
    assert found.equal(draw_samples(clips, CROP, config, 0.0, np.random.SeedSequence([1, 2])))
    assert not found.equal(draw_samples(clips, CROP, config, 0.0, np.random.SeedSequence([1, 3])))
    assert found.shape == (12, 3, FRAMES, *CROP)
    plain = draw_samples(clips, CROP, TokenizerAugmentConfig(**PLAIN), 0.0, seed)
    torch.testing.assert_close(plain, torch.full_like(plain, 2 * 200 / 255 - 1))


def test_a_window_of_the_first_clips_is_theirs() -> None:
    """A cut that mixes the parts of several clips."""
    window = Window(*(torch.arange(12).view(4, 3) for _ in range(3)))
    assert window.first(2).row.tolist() == [[0, 1, 2], [3, 4, 5]]
