"""Clips of shots lie where the contract says, forwards in time, and are finished or are not."""

import errno
from pathlib import Path

import pytest
import torch
from tiny_scene import FRAMES, HEIGHT, WIDTH

from cosmos_predict1.diffusion.conditioning.cache import Warps
from cosmos_predict1.diffusion.outputs import ShotFiles, WriteError
from cosmos_predict1.diffusion.sampling.pipeline import Piece
from cosmos_predict1.diffusion.sampling.rollout import RolledPiece, buffer_frames
from cosmos_predict1.diffusion.scenes.shots import Rig, Shot
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.io.atomic import is_temporary
from src.io.clip.clip import ClipPaths, open_clip
from src.io.video.video import VideoWriter, read_video, video_info
from src.runtime import InputError

SPEC = TrajectorySpec("left", 0.3)
RECORD = {"settings": {"size": (1, 2)}, "trajectory": {"name": "left"}, "prompt": ""}
META = {**RECORD, "negative_prompt": None}


def rolled(offset: int = 0) -> RolledPiece:
    """Frame t is grey, of brightness 20 t."""
    grey = 20 * torch.arange(FRAMES)[:, None, None, None] + offset
    frames = grey.expand(FRAMES, HEIGHT, WIDTH, 3).to(torch.uint8).contiguous()
    latents = torch.randn(16, 2, HEIGHT // 8, WIDTH // 8)
    lens = torch.tensor([40.0, 40, 24, 16]) * torch.linspace(1, 2, FRAMES)[:, None]
    warps = Warps(
        (frames.permute(0, 3, 1, 2).float() / 127.5 - 1)[None],
        torch.ones(1, FRAMES, HEIGHT, WIDTH, dtype=torch.bool),
        torch.ones(1, FRAMES, HEIGHT, WIDTH),
    )
    piece = Piece(latents, frames, torch.zeros(3, HEIGHT, WIDTH))
    return RolledPiece(piece, Rig(lens, make_trajectory(SPEC, FRAMES)), buffer_frames(warps))


def brightness(path: Path) -> torch.Tensor:
    return read_video(path).float().mean(dim=(1, 2, 3))


def test_a_clip_reads_back(tmp_path: Path) -> None:
    """A clip of other poses, latents or files than those of the contract."""
    files, made = ShotFiles(tmp_path, Shot("3", SPEC), "scene", 1), rolled()
    assert not files.is_finished(RECORD)
    files.write(0, files.clip(made, 24.0, META))
    clip = open_clip(ClipPaths(tmp_path, "3", "scene"))
    torch.testing.assert_close(clip.cameras().w2c, made.rig.w2c, atol=1e-5, rtol=0)
    assert (clip.cameras().intrinsics == made.rig.intrinsics).all()
    assert (clip.latents() == made.piece.latents).all()
    assert clip.info.fps == 24 and (brightness(clip.paths.rgb).diff() > 10).all()
    assert files.is_finished(RECORD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3"]


def test_backward_shots_are_stored_forwards(tmp_path: Path) -> None:
    """Poses in the direction of generation beside turned frames: the published bug."""
    files, made = ShotFiles(tmp_path, Shot("6", SPEC, backwards=True), "scene", 1), rolled()
    files.write(0, files.clip(made, 12.5, META))
    clip = open_clip(ClipPaths(tmp_path, "6", "scene"))
    cameras = clip.cameras()
    torch.testing.assert_close(cameras.w2c.flip(0), made.rig.w2c, atol=1e-5, rtol=0)
    assert (cameras.intrinsics.flip(0) == made.rig.intrinsics).all()
    assert (brightness(clip.paths.rgb).diff() < -10).all() and clip.info.fps == 12.5
    assert not clip.paths.latent.is_file() and files.is_finished(RECORD)


@pytest.mark.parametrize("backwards", [False, True])
def test_pieces_are_numbered_in_scene_time(tmp_path: Path, backwards: bool) -> None:
    """The first piece of a backward shot, which ends the scene, named as if it began it."""
    files = ShotFiles(tmp_path, Shot("0", SPEC, backwards), "scene", 3)
    for index in range(3):
        assert not files.is_finished(RECORD)
        files.write(index, files.clip(rolled(offset=index * 25), 24.0, META))
        files.write_buffer(index, rolled(offset=index * 25).buffer, 24.0)
    assert files.is_finished(RECORD)
    names = [f"scene_part{index}" for index in range(3)]
    assert [paths.key for paths in files.paths] == names
    means = torch.stack([brightness(paths.rgb).mean() for paths in files.paths])
    assert ((means.diff() < 0) if backwards else (means.diff() > 0)).all()
    buffers = tmp_path.with_name(f"{tmp_path.name}_buffers") / "0"
    for paths in files.paths:
        shown = brightness(buffers / f"{paths.key}.mp4")
        torch.testing.assert_close(shown, brightness(paths.rgb), atol=4, rtol=0)


def test_an_earlier_run_with_other_settings_is_noticed(tmp_path: Path) -> None:
    """Clips of two sizes, seeds or prompts side by side in one data set."""
    files = ShotFiles(tmp_path, Shot("", SPEC), "scene", 1)
    files.write(0, files.clip(rolled(), 24.0, META))
    assert files.is_finished({**RECORD, "settings": {"size": [1, 2]}})
    for name, value in (("settings", {"size": (1, 3)}), ("prompt", "a"), ("trajectory", {})):
        with pytest.raises(InputError, match=f"{name}.* = "):
            files.is_finished({**RECORD, name: value})


def test_a_full_disk_leaves_nothing_that_passes_for_a_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a video that is taken for a clip, or a traceback without the folder's name."""
    files = ShotFiles(tmp_path, Shot("0", SPEC), "scene", 1)

    def refuse(_writer: VideoWriter, _frames: torch.Tensor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", refuse)
        with pytest.raises(WriteError, match="No space left"):
            files.write(0, files.clip(rolled(), 24.0, META))
        with pytest.raises(WriteError, match="No space left"):
            files.write_buffer(0, rolled().buffer, 24.0)
    assert not files.is_finished(RECORD)
    assert not any(is_temporary(path) for path in tmp_path.rglob("*"))
    files.write(0, files.clip(rolled(), 24.0, META))
    assert files.is_finished(RECORD)


def test_buffers_show_holes_black_and_stand_side_by_side(tmp_path: Path) -> None:
    """Holes shown as grey, which looks like content."""
    image = torch.zeros(2, 3, 3, 4, 6)
    image[1] = 1
    mask = torch.ones(2, 3, 4, 6, dtype=torch.bool)
    mask[:, 1] = False
    shown = buffer_frames(Warps(image, mask, mask.float()))
    assert shown.shape == (3, 4, 12, 3)
    assert (shown[0, :, :6] == 127).all() and (shown[0, :, 6:] == 255).all()
    assert (shown[1] == 0).all()
    files = ShotFiles(tmp_path / "out", Shot("", SPEC), "scene", 1)
    files.write_buffer(0, rolled().buffer, 24.0)
    assert video_info(tmp_path / "out_buffers" / "scene.mp4").num_frames == FRAMES
    assert not (tmp_path / "out").exists()
