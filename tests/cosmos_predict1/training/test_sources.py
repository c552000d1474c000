"""Clips with their sources, warps of many at once, and their latents."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_scene import FRAMES, HEIGHT, WIDTH, TinyInput, tiny_tokenizer, write_tiny_input

from cosmos_predict1.diffusion.conditioning.cache import (
    CacheSettings,
    PointCache,
    SourceFrames,
    Warps,
)
from cosmos_predict1.diffusion.conditioning.latents import (
    condition_latents,
    first_frame_image,
    first_frame_latent,
    latent_encoder,
)
from cosmos_predict1.diffusion.model.architecture import SamplingDefaults
from cosmos_predict1.training.config import WarpConfig, WorldSetConfig
from cosmos_predict1.training.latents import ClipEncoder, LatentBatches, LatentClips, encode_all
from cosmos_predict1.training.sources import (
    SourcedClips,
    cache_settings,
    disturbed,
    folder_clips,
    list_clips,
    split_clips,
    unit_video,
    warp_clips,
)
from nano.data.clips import world_trajectories
from nano.data.sourced import world_clips
from nano.seeds import VALIDATE
from src.geometry.cameras import invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY
from src.runtime import InputError

SIZE = SamplingDefaults(
    height=HEIGHT,
    width=WIDTH,
    num_frames=FRAMES,
    fps=24.0,
    num_steps=2,
    guidance=1.0,
    text_encoder="none",
    filter_points_threshold=0.2,
)
CPU = torch.device("cpu")
SETTINGS = cache_settings(WarpConfig(), SIZE)


def worlds(**settings: Any) -> list[SourcedClips]:
    return list(world_clips(WorldSetConfig(trajectories=2, **settings), SIZE, CPU))


@pytest.fixture(scope="module")
def still() -> SourcedClips:
    return worlds(static=2, static_seed=3)[0]


@pytest.fixture(scope="module")
def moving() -> SourcedClips:
    return worlds(dynamic=2, dynamic_seed=100_003)[0]


def inference_warps(clips: SourcedClips, index: int) -> Warps:
    """The warps of one clip as the commands make them."""
    sources = clips.source.shape[1]
    depth = clips.depth[index]
    frames = SourceFrames(
        clips.source[index].float() / 127.5 - 1,
        depth,
        clips.intrinsics[index, :sources],
        clips.source_w2c[index],
        depth > 0,
    )
    cache = PointCache(frames, SETTINGS, moving=sources > 1)
    return cache.render(clips.intrinsics[index], clips.w2c[index])


def test_settings_are_those_of_the_commands() -> None:
    """Warps that are filtered otherwise than those of a user of the weights."""
    assert CacheSettings(threshold=0.2, foreground_masking=True, drop_invalid=True) == SETTINGS
    assert cache_settings(WarpConfig(threshold=0.1), SIZE).threshold == 0.1


@pytest.mark.parametrize("kind", ["still", "moving"])
def test_inputs_are_those_of_the_commands(kind: str, request: pytest.FixtureRequest) -> None:
    """Pairs of frames that reach from clip to clip, mixed-up sources, another order of channels."""
    clips: SourcedClips = request.getfixturevalue(kind)
    tokenizer = tiny_tokenizer()
    encoded = ClipEncoder(tokenizer, SETTINGS, 0.0, 0)(clips)
    encode = latent_encoder(tokenizer)
    for index in range(len(clips)):
        expected = inference_warps(clips, index)
        torch.testing.assert_close(encoded.warps.image[index], expected.image[0])
        assert torch.equal(encoded.warps.mask[index], expected.mask[0])
        batch = encoded.latents.batch(torch.tensor([index]), 64, CPU)
        latents = condition_latents(encode, expected)
        torch.testing.assert_close(batch.warps, latents, rtol=2e-3, atol=2e-3)
        picture = clips.video[index, 0].movedim(0, -1)
        frame = first_frame_image(picture, HEIGHT, WIDTH, "consistent")
        first = first_frame_latent(encode, frame)
        torch.testing.assert_close(batch.latents[:, :, :1], first, rtol=2e-3, atol=2e-3)
        assert batch.keys == [clips.keys[index]]


def test_warps_show_what_the_true_clip_shows(still: SourcedClips, moving: SourcedClips) -> None:
    """Cameras of another trajectory, times that run the other way, a source of another world."""
    for clips in (still, moving):
        warps = warp_clips(clips, SETTINGS)
        error = (warps.image - unit_video(clips.video)).abs().mean(dim=2)
        for index in range(len(clips)):
            mask = warps.mask[index]
            assert mask[0].float().mean() > 0.15
            # Edges move by a pixel; nearly all other pixels agree.
            assert error[index][mask].median() < 0.05, clips.keys[index]
            assert mask[-1].float().mean() > 0.1


def test_trajectories_are_those_of_the_worlds() -> None:
    """Poses of another convention, or reversed clips whose camera goes backwards."""
    small = replace(SIZE, height=16, width=24)
    config = WorldSetConfig(dynamic=6, trajectories=2)
    clips = next(world_clips(config, small, CPU))
    numbers = [int(key.rsplit(" ", 1)[1]) for key in clips.keys]
    seeds = [int(key.split(" ")[1].rstrip(",")) for key in clips.keys]
    counts = torch.bincount(torch.tensor(numbers), minlength=12)
    assert (counts == 1).all(), "all kinds are equally frequent"
    for index, (number, seed) in enumerate(zip(numbers, seeds, strict=True)):
        forward = world_trajectories(seed, FRAMES, False)[number % len(MULTI_TRAJECTORY)]
        torch.testing.assert_close(clips.w2c[index], invert_rigid(forward))
        assert torch.equal(clips.w2c[index, 0], torch.eye(4))
        assert torch.equal(clips.video[index, 0], clips.source[index, 0])


def test_processes_have_other_worlds() -> None:
    """Worlds that two processes see, or none does."""
    config = WorldSetConfig(static=3, trajectories=1)
    parts = [
        key
        for rank in range(2)
        for clips in world_clips(config, SIZE, CPU, (rank, 2))
        for key in clips.keys
    ]
    assert sorted(key.split(",")[0] for key in parts) == ["world 0", "world 1", "world 2"]


def test_disturbed_depth_is_smooth_and_by_clip() -> None:
    """Noise by pixel or by frame, which no depth network makes, or of another strength."""
    depth = torch.full((64, 2, 32, 48), 2.0)
    found = disturbed(depth, 0.02, torch.Generator().manual_seed(0))
    assert torch.equal(found[:, 0], found[:, 1])
    assert 0.008 < (found / 2 - 1).std() < 0.025
    steps = (found[..., 1:] - found[..., :-1]).abs().max()
    assert 0 < steps < 0.05
    assert disturbed(depth, 0.0, torch.Generator()) is depth


def numbered(count: int) -> LatentClips:
    values = torch.arange(count, dtype=torch.float16)[:, None, None, None, None]
    return LatentClips(values, values.expand(-1, 2, -1, -1, -1), tuple(map(str, range(count))))


def test_batches_go_through_all_clips_and_go_on_where_they_were() -> None:
    """An epoch that leaves clips out, the same order every epoch, a position that is not kept."""
    batches = LatentBatches(numbered(7), 3, 4, CPU, seed=1)
    stream = iter(batches)
    found = [next(stream) for _ in range(7)]
    assert batches.position == 7
    keys = [key for batch in found for key in batch.keys]
    epochs = [keys[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(epoch) == sorted(map(str, range(7))) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert found[0].warps.shape == (3, 4, 1, 1, 1)
    assert (found[0].warps[:, 2:] == 0).all() and found[0].latents.dtype == torch.float32
    assert found[0].latents.flatten().tolist() == [float(key) for key in found[0].keys]
    again = LatentBatches(numbered(7), 3, 4, CPU, seed=1)
    again.position = 4
    assert next(iter(again)).keys == found[4].keys


def test_a_process_without_clips_says_so() -> None:
    """An error out of torch in a launch of more processes than clips."""
    encoder = ClipEncoder(tiny_tokenizer(), SETTINGS, 0.0, 0)
    with pytest.raises(InputError, match="clips of process 0 .* got 0, expected at least one"):
        encode_all(iter([]), encoder, CPU)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("tiny"))


def test_clips_of_a_folder(tiny: TinyInput) -> None:
    """Frames, cameras or depth of another clip; unknown depth that becomes points."""
    paths = list_clips(tiny.root)
    assert len(paths) == 6
    for clips in folder_clips(paths[:2], SIZE, CPU):
        assert clips.video.shape == (1, FRAMES, 3, HEIGHT, WIDTH)
        assert torch.equal(clips.source[0, 0], clips.video[0, 0])
        assert torch.equal(clips.source_w2c[0, 0], clips.w2c[0, 0])
        assert warp_clips(clips, SETTINGS).mask[0, 0].float().mean() > 0.9


def test_scenes_are_held_out_whole(tiny: TinyInput) -> None:
    """Trajectories of one scene on both sides, or nothing left to learn from."""
    paths = list_clips(tiny.root)
    training, held_out = split_clips(paths, 2)
    assert {path.key for path in training}.isdisjoint({path.key for path in held_out})
    assert len(held_out) == 3 and len(training) == 3
    assert split_clips(paths, 100) == (paths, [])
    assert split_clips(paths, 0) == (paths, [])


def test_bad_folders_are_named(tiny: TinyInput, tmp_path: Path) -> None:
    """Clips that are silently cut, stretched or left out."""
    with pytest.raises(InputError, match="no clips"):
        list_clips(tmp_path)
    paths = list_clips(tiny.root)[:1]
    for changes, message in (
        ({"height": 48}, "48x48"),
        ({"num_frames": 17}, "at least 17"),
        ({"fps": 30.0}, "30.0"),
    ):
        with pytest.raises(InputError, match=message):
            list(folder_clips(paths, replace(SIZE, **changes), CPU))
    missing = replace(paths[0], key="other")
    for part in ("rgb", "pose", "intrinsics"):
        missing.part(part).symlink_to(paths[0].part(part))
    with pytest.raises(InputError, match="add_depth"):
        list(folder_clips([missing], SIZE, CPU))


def test_held_out_worlds_are_not_trained_on() -> None:
    """A training set that reaches into the seeds of the evaluation."""
    reaching = WorldSetConfig(dynamic=10, dynamic_seed=VALIDATE.static.start - 9)
    with pytest.raises(InputError, match="seeds of moving worlds"):
        next(world_clips(reaching, SIZE, CPU))
    with pytest.raises(InputError, match="seeds of still worlds"):
        next(world_clips(WorldSetConfig(static=1, static_seed=5), SIZE, CPU, held_out=True))
    held_out = next(world_clips(WorldSetConfig(static=1), SIZE, CPU, held_out=True))
    assert held_out.keys[0].startswith(f"world {VALIDATE.static.start},")
