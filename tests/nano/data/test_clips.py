"""Clips of worlds: what is written, where cameras stand, and what is made again."""

from pathlib import Path

import pytest
import torch

from nano.data import clips as world_clips
from nano.data.clips import (
    untrained_tokenizer,
    world_trajectories,
    write_world_clips,
)
from nano.worlds.rendering.render import render_worlds
from nano.worlds.scene import build_worlds
from src.geometry.cameras import Cameras
from src.io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from src.runtime import InputError
from src.tokenizer.loading import load_tokenizer
from src.training.decoder.config import WorldsConfig

SIZE = (16, 32)


@pytest.fixture
def worlds(tmp_path: Path) -> WorldsConfig:
    return WorldsConfig(scenes=1, frames=9, folder=str(tmp_path), supersample=1)


def test_a_dynamic_clip_shows_its_world_at_its_time_from_its_camera(worlds: WorldsConfig) -> None:
    """Reversed clips whose pictures, cameras or times run the other way."""
    folder = untrained_tokenizer(Path(worlds.folder) / "tokenizer", worlds.frames)
    root = write_world_clips(worlds, True, SIZE, folder)
    assert list_trajectories(root) == [str(number) for number in range(12)]
    assert list_keys(root) == ["world_00000"]
    for name in ("1", "7"):
        clip = open_clip(ClipPaths(root, name, "world_00000"))
        cameras, times = clip.cameras([2, 6]), torch.tensor([[2 / 8, 6 / 8]])
        batch = Cameras(cameras.c2w[None], cameras.intrinsics[None], cameras.width, cameras.height)
        frames = render_worlds(build_worlds([0], dynamic=True), batch, times, 1)
        torch.testing.assert_close(clip.depth([2, 6]), frames.depth[0], rtol=2e-3, atol=1e-3)
        shown = clip.frames([2, 6]).movedim(-1, 1).float() / 255
        assert (shown - frames.rgb[0]).abs().mean() < 0.06
    forward, reverse = (open_clip(ClipPaths(root, name, "world_00000")) for name in ("1", "7"))
    torch.testing.assert_close(forward.cameras().c2w, reverse.cameras().c2w.flip(0))


def test_latents_are_those_of_the_pictures(worlds: WorldsConfig) -> None:
    """Latents that are not normalised, or encoded from pictures of another range."""
    folder = untrained_tokenizer(Path(worlds.folder) / "tokenizer", worlds.frames)
    root = write_world_clips(worlds, False, SIZE, folder)
    assert list_trajectories(root) == [str(number) for number in range(6)]
    clip, tokenizer = open_clip(ClipPaths(root, "3", "world_00000")), load_tokenizer(folder)
    video = clip.frames().movedim(-1, 0)[None] / 127.5 - 1
    again = tokenizer.statistics.normalise(tokenizer.encode(video))[0]
    # Apart from what the video's compression loses.
    assert (clip.latents() - again).norm() < 0.2 * again.norm()


def test_what_is_there_is_not_made_again(
    worlds: WorldsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips that every run renders anew, or that stay when the size or the tokenizer changed."""
    folder = untrained_tokenizer(Path(worlds.folder) / "tokenizer", worlds.frames)
    made = []
    clips = world_clips._clips

    def counted(seed: int, config: WorldsConfig, **rest: object) -> list:
        made.append(seed)
        return clips(seed, config, **rest)

    monkeypatch.setattr(world_clips, "_clips", counted)
    write_world_clips(worlds, False, SIZE, folder)
    write_world_clips(worlds, False, SIZE, folder)
    assert made == [0]
    write_world_clips(worlds, False, (32, 32), folder)
    assert made == [0, 0]


def test_trajectories_differ_between_worlds_and_start_together() -> None:
    """The same six paths for all scenes; trajectories that don't share their first frame."""
    first, second = world_trajectories(1, 9, True), world_trajectories(2, 9, True)
    assert first.shape == (12, 9, 4, 4)
    torch.testing.assert_close(first[:6, 0], torch.eye(4).expand(6, 4, 4))
    assert not torch.allclose(first[:6, -1], second[:6, -1])


def test_the_random_tokenizer_is_the_same_everywhere(tmp_path: Path) -> None:
    """Weights that depend on what was drawn before, or generators that are changed by it."""
    torch.manual_seed(5)
    folder = untrained_tokenizer(tmp_path / "a", 9)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    first, second = (load_tokenizer(path) for path in (folder, untrained_tokenizer(tmp_path, 9)))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_impossible_numbers_are_refused() -> None:
    """Clips that the tokenizer cannot encode, found out after they were rendered."""
    for change in ({"frames": 16}, {"scenes": -1}, {"supersample": 0}):
        with pytest.raises(InputError):
            WorldsConfig(**change)
