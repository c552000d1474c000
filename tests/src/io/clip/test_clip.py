import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.geometry.cameras import Cameras
from src.io.cameras.frame_table import write_frame_table
from src.io.clip.clip import (
    Clip,
    ClipPaths,
    is_finished,
    list_keys,
    list_trajectories,
    open_clip,
    write_clip,
)
from src.io.video.video import write_video
from src.runtime import InputError

FRAMES, HEIGHT, WIDTH = 9, 32, 48


@pytest.fixture
def clip(pictures: Callable[[int, int, int], Tensor], poses: Callable[[int], Tensor]) -> Clip:
    intrinsics = torch.tensor([40.0, 41, 24, 16]).repeat(FRAMES, 1)
    intrinsics[:, 0] += torch.arange(FRAMES)
    return Clip(
        cameras=Cameras(poses(FRAMES).float(), intrinsics, WIDTH, HEIGHT),
        fps=24,
        frames=pictures(FRAMES, HEIGHT, WIDTH),
        latents=torch.randn(16, 2, HEIGHT // 8, WIDTH // 8),
        depth=torch.rand(FRAMES, HEIGHT, WIDTH) + 1,
        meta={"seed": 7, "prompt": "a house"},
    )


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Files cannot grow beyond `bytes_left` inside, as on a disk that runs full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_clip_comes_back(tmp_path: Path, clip: Clip) -> None:
    """A part under another's name, cameras of another size, frames found by the wrong number."""
    paths = ClipPaths(tmp_path, "0", "scene_a")
    write_clip(paths, clip)
    reader = open_clip(paths)
    assert (reader.num_frames, reader.info.fps) == (FRAMES, 24.0)
    assert reader.paths.latent.is_file() and reader.has_depth
    cameras = reader.cameras()
    assert (cameras.width, cameras.height) == (WIDTH, HEIGHT)
    assert torch.equal(cameras.c2w, clip.cameras.c2w)
    assert torch.equal(reader.cameras([8, 2]).intrinsics, clip.cameras.intrinsics[[8, 2]])
    assert clip.latents is not None and torch.equal(reader.latents(), clip.latents)
    assert clip.depth is not None and torch.equal(reader.depth([3])[0], clip.depth[3].half())
    assert clip.frames is not None
    difference = (reader.frames([7, 1]).int() - clip.frames[[7, 1]].int()).abs().float()
    assert difference.mean() < 2
    meta = reader.meta()
    assert (meta["seed"], meta["prompt"]) == (7, "a house")


def test_the_root_holds_trajectories_only(tmp_path: Path, clip: Clip) -> None:
    """An entry of the root that published readers would take for a trajectory."""
    for trajectory in ("0", "1"):
        write_clip(ClipPaths(tmp_path, trajectory, "a"), clip)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    found = sorted(str(path.relative_to(tmp_path / "0")) for path in tmp_path.glob("0/*/*"))
    assert found == [
        "depth/a.zip",
        "intrinsics/a.npz",
        "latent/a.pkl",
        "meta/a.json",
        "pose/a.npz",
        "rgb/a.mp4",
    ]
    assert torch.load(tmp_path / "0/latent/a.pkl", weights_only=False).shape == (1, 16, 2, 4, 6)


def test_published_clips_are_read(shared: Path) -> None:
    """A clip without meta, with depth; latents in the pickle that the original wrote."""
    root = shared / "fixtures" / "recon_dataset_static" / "data" / "dataset"
    assert list_trajectories(root) == ["0", "1", "2", "3", "4", "5"]
    assert list_keys(root) == ["scene_a", "scene_b"]
    paths = ClipPaths(root, "5", "scene_b")
    reader = open_clip(paths)
    assert not is_finished(paths)
    assert reader.meta() == {}
    assert (reader.num_frames, reader.info.height, reader.info.width) == (121, 16, 32)
    assert reader.frames([120, 60]).shape == (2, 16, 32, 3)
    assert reader.depth([0, 120]).shape == (2, 16, 32)
    assert reader.latents().shape == (16, 16, 2, 4)
    with np.load(paths.pose) as archive:
        assert np.array_equal(reader.cameras([17]).c2w[0].numpy(), archive["data"][17])


def test_published_targets_lack_latents(shared: Path) -> None:
    """Twelve trajectories in alphabetical order; a reader that insists on latents."""
    root = shared / "fixtures" / "recon_dataset_dynamic" / "data" / "dataset"
    assert list_trajectories(root) == [str(index) for index in range(12)]
    reader = open_clip(ClipPaths(root, "11", list_keys(root)[0]))
    assert not reader.paths.latent.is_file()
    with pytest.raises(InputError, match=r"11/latent/clip\.pkl: got no such file"):
        reader.latents()
    assert len(reader.cameras()) == reader.num_frames == 121


def test_keys_and_trajectories_are_listed_in_order(tmp_path: Path) -> None:
    """`10` before `9`; hidden files, the published flag file and stray files taken for clips."""
    for trajectory in ("10", "9", "b"):
        for key in ("10", "9", "scene b", "scene.a", "007"):
            path = ClipPaths(tmp_path, trajectory, key).rgb
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / trajectory / "rgb" / ".9~host~12~ab.mp4").touch()
        (tmp_path / trajectory / "rgb" / "notes.txt").touch()
    (tmp_path / "flag").mkdir()
    (tmp_path / "README").touch()
    assert list_trajectories(tmp_path) == ["9", "10", "b"]
    assert list_keys(tmp_path) == ["007", "9", "10", "scene b", "scene.a"]


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    """A trajectory silently left out, or a different scene in its place."""
    for trajectory, keys in (("0", "ab"), ("1", "a"), ("2", "ab")):
        for key in keys:
            path = ClipPaths(tmp_path, trajectory, key).rgb
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    with pytest.raises(InputError, match=r"1/rgb/b\.mp4: got no such file, .*, as in .*/0"):
        list_keys(tmp_path)
    assert list_keys(tmp_path, ["0", "2"]) == ["a", "b"]
    with pytest.raises(InputError, match="3/rgb/a.mp4: got no such file"):
        list_keys(tmp_path, ["0", "3"])
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(InputError, match=f"{root}: got no "):
            list_keys(root)


def test_a_clip_is_finished_when_all_its_files_are_there(tmp_path: Path, clip: Clip) -> None:
    """A killed job whose half clip is skipped by the next run; optional parts that went missing."""
    paths = ClipPaths(tmp_path, "0", "a")
    assert not is_finished(paths)
    write_clip(paths, clip)
    assert is_finished(paths)
    for part in ("rgb", "pose", "intrinsics", "latent", "depth", "meta"):
        file = paths.part(part)
        content = file.read_bytes()
        file.unlink()
        assert not is_finished(paths), part
        file.write_bytes(content)
    paths.latent.unlink()
    write_clip(paths, replace(clip, latents=None))
    assert is_finished(paths)


def test_a_full_disk_leaves_an_unfinished_clip(tmp_path: Path, clip: Clip) -> None:
    """Half-written files, or the old meta that calls a mixture of two clips finished."""
    paths = ClipPaths(tmp_path, "0", "a")
    write_clip(paths, clip)
    sizes = {path: path.stat().st_size for path in tmp_path.glob("0/*/*") if path != paths.meta}
    for limit in (100, min(sizes.values()) + 50, paths.rgb.stat().st_size - 500):
        with pytest.raises(OSError), full_disk(limit):
            write_clip(paths, clip)
        assert not is_finished(paths)
        left = {path: path.stat().st_size for path in tmp_path.glob("0/*/*")}
        assert left.keys() == sizes.keys()
    write_clip(paths, clip)
    assert is_finished(paths)


def test_the_video_may_be_written_before(tmp_path: Path, clip: Clip) -> None:
    """A video streamed while decoding, of another size or length than the cameras."""
    paths = ClipPaths(tmp_path, "", "a")
    rest = replace(clip, frames=None)
    with pytest.raises(InputError, match=r"rgb/a\.mp4: got no such file"):
        write_clip(paths, rest)
    assert clip.frames is not None
    write_video(paths.rgb, clip.frames[:-1], fps=24)
    with pytest.raises(AssertionError, match="the cameras are for"):
        write_clip(paths, rest)
    assert not is_finished(paths)
    write_video(paths.rgb, clip.frames, fps=24)
    write_clip(paths, rest)
    assert is_finished(paths)
    assert open_clip(paths).paths.rgb == tmp_path / "rgb" / "a.mp4"


def test_clips_that_do_not_match_are_refused(tmp_path: Path, clip: Clip) -> None:
    """Poses, intrinsics or depth of another clip beside the video."""
    paths = ClipPaths(tmp_path, "0", "a")
    write_clip(paths, clip)
    c2w = clip.cameras.c2w
    write_frame_table(paths.pose, c2w[:-1])
    with pytest.raises(InputError, match=r"pose/a\.npz: got 8 rows, expected 9 rows"):
        open_clip(paths)
    broken = c2w.clone()
    broken[3, 0, 0] = torch.nan
    write_frame_table(paths.pose, broken)
    with pytest.raises(InputError, match="non-finite pose at index 3"):
        open_clip(paths)
    with pytest.raises(InputError, match="non-finite pose at index 3"):
        write_clip(paths, replace(clip, cameras=replace(clip.cameras, c2w=broken)))
    write_frame_table(paths.pose, c2w)
    write_frame_table(paths.intrinsics, torch.full((10, 4), 9.0))
    with pytest.raises(InputError, match=r"intrinsics/a\.npz: got 10 rows"):
        open_clip(paths)
    write_frame_table(paths.intrinsics, torch.full((FRAMES, 4), 9.0))
    reader = open_clip(paths)
    for read in (reader.cameras, reader.frames, reader.depth):
        with pytest.raises(InputError, match=r"frame 9|00009\.exr"):
            read([0, 9])
    for part in ("rgb", "pose", "intrinsics"):
        hidden = paths.part(part).rename(tmp_path / "hidden")
        with pytest.raises(InputError, match=f"{part}/a.* got no such file"):
            open_clip(paths)
        hidden.rename(paths.part(part))


def test_published_tables_may_have_more_rows_than_the_video(tmp_path: Path, clip: Clip) -> None:
    """A published clip that the original reads, refused; or rows taken by their place."""
    paths = ClipPaths(tmp_path, "0", "a")
    write_clip(paths, clip)
    more = torch.cat([clip.cameras.c2w, clip.cameras.c2w.flip(0)])
    write_frame_table(paths.pose, more)
    with pytest.raises(InputError, match=r"pose/a\.npz: got 18 rows, expected 9 rows"):
        open_clip(paths)
    paths.meta.unlink()
    np.savez(paths.intrinsics, data=torch.rand(20, 4).numpy() + 9, inds=np.arange(-1, 19))
    reader = open_clip(paths)
    assert torch.equal(reader.cameras().c2w, clip.cameras.c2w) and reader.num_frames == 9
    with np.load(paths.intrinsics) as archive:
        rows = archive["data"][[1, 9]]
    assert np.array_equal(reader.cameras([0, 8]).intrinsics.numpy(), rows)
    write_frame_table(paths.pose, clip.cameras.c2w[:-1])
    with pytest.raises(InputError, match=r"pose/a\.npz: got 8 rows"):
        open_clip(paths)
    bent = more.clone()
    bent[2, 0, 0] += 0.002
    write_frame_table(paths.pose, bent)
    with pytest.raises(InputError, match=r"pose/a\.npz: got pose 2 = .*expected a rigid"):
        open_clip(paths)


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"files": 3}', '{"files": ["rgb"]}', '{"seed": 1}']
)
def test_a_foreign_meta_file_is_refused(tmp_path: Path, content: str) -> None:
    """A damaged or foreign meta file taken for "finished" or for "not there"."""
    paths = ClipPaths(tmp_path, "0", "a")
    paths.meta.parent.mkdir(parents=True)
    paths.meta.write_text(content)
    with pytest.raises(InputError, match=r"meta/a\.json: got"):
        is_finished(paths)


@pytest.mark.parametrize("key", ["", "a/b", "..", ".hidden", "a\0b"])
def test_keys_that_are_no_file_names_are_refused(tmp_path: Path, key: str) -> None:
    """Prompts in clip names that lead out of the folder or are invisible to readers."""
    with pytest.raises(InputError, match="clip key"):
        ClipPaths(tmp_path, "0", key)
