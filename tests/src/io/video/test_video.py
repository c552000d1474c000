import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from src.io.video.video import (
    VideoInfo,
    VideoWriter,
    iterate_video,
    read_video,
    video_header,
    video_info,
    write_video,
)
from src.runtime import InputError

Pictures = Callable[[int, int, int], Tensor]


def ffmpeg(*arguments: object) -> bytes:
    """The output of the ffmpeg command, which serves as the independent peer."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def decoded_by_ffmpeg(path: Path, height: int, width: int) -> Tensor:
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-")
    return torch.from_numpy(np.frombuffer(raw, np.uint8).copy()).view(-1, height, width, 3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A video of 60 frames (three key frames, with B frames) and all its frames."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    rows = torch.arange(60)[:, None, None, None] * 4
    frames = (rows + torch.arange(64)[:, None] // 8 + torch.zeros(48, 64, 3)).to(torch.uint8)
    write_video(path, frames, fps=24)
    return path, read_video(path)


def test_frames_come_back_nearly_unchanged(tmp_path: Path, pictures: Pictures) -> None:
    """Swapped channels, another range of values, lost or repeated frames."""
    path, frames = tmp_path / "rgb" / "a.mp4", pictures(9, 36, 64)
    write_video(path, frames, fps=12)
    assert (read_video(path).int() - frames.int()).abs().float().mean() < 2
    assert video_info(path) == video_header(path) == VideoInfo(9, 36, 64, 12.0)
    assert list(path.parent.iterdir()) == [path]


def test_batches_differ_in_length(tmp_path: Path, pictures: Pictures) -> None:
    """Batches that the shape checks hold to the length of the first one, a short last one above."""
    frames = pictures(7, 32, 48)
    for name, batches in (("list", list(frames.split(3))), ("stream", iter(frames.split(3)))):
        write_video(tmp_path / f"{name}.mp4", batches, fps=24)
        assert video_info(tmp_path / f"{name}.mp4").num_frames == 7


def test_frames_converted_ahead_give_the_same_bytes(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames lost, repeated or out of order where another thread converts them."""
    frames, written = pictures(9, 36, 64), []
    for large in (1, 1 << 30):
        monkeypatch.setattr("src.io.video.video.LARGE_PIXELS", large)
        write_video(tmp_path / "a.mp4", [frames[:5], frames[5:6], frames[6:]], fps=12)
        written.append((tmp_path / "a.mp4").read_bytes())
    assert written[0] == written[1]


def test_frames_encoded_at_once_are_as_good(tmp_path: Path) -> None:
    """Frames lost at the end, another quality, or bytes that differ from run to run."""
    noise = torch.rand(96, 256, 3)
    shifted = [noise.roll(3 * index, dims=1) for index in range(30)]
    frames = (torch.stack(shifted) * 80 + torch.arange(256)[:, None] / 2).to(torch.uint8)
    errors, sizes, written = [], [], []
    for number, at_once in enumerate((0, 12, 12)):
        path = tmp_path / f"{number}.mp4"
        write_video(path, frames, 24, quality=5, frame_threads=at_once)
        found = read_video(path)
        assert found.shape == frames.shape
        errors.append((found.float() - frames.float()).square().mean())
        sizes.append(path.stat().st_size)
        written.append(path.read_bytes())
    assert written[1] == written[2]
    assert errors[1] < 1.02 * errors[0] and sizes[1] < 1.02 * sizes[0]


def test_colours_equal_ffmpeg_and_the_published_decoder(shared: Path) -> None:
    """Another conversion from YUV than the original pipeline's decoder."""
    fixture = shared / "fixtures" / "sdg_vipe"
    expected = load_file(fixture / "tensors.safetensors")["aux/decoded_frames_uint8"]
    assert torch.equal(read_video(fixture / "data/rgb/clip_a.mp4").float(), expected)


def test_quality_is_imageios(tmp_path: Path, pictures: Pictures) -> None:
    """Another rate factor, pixel format or colour subsampling than the published clips have."""
    import imageio.v2 as imageio

    frames = pictures(12, 48, 64)
    ours, peer = tmp_path / "ours.mp4", tmp_path / "peer.mp4"
    write_video(ours, frames, fps=24)
    imageio.mimwrite(peer, list(frames.numpy()), fps=24, quality=8, macro_block_size=1)
    errors = [(read_video(path).float() - frames).square().mean() for path in (ours, peer)]
    assert errors[0] < 1.1 * errors[1] + 0.05
    assert b"crf=10.0" in ours.read_bytes()
    probe = subprocess.run(
        [imageio_exe(), "-i", str(ours)], capture_output=True, text=True, check=False
    ).stderr
    assert "h264" in probe and "yuv420p" in probe


def imageio_exe() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def test_single_frames_equal_the_whole_reading(clip: tuple[Path, Tensor]) -> None:
    """A neighbour's frame after a jump: around key frames, B frames, both ends, any order."""
    path, frames = clip
    generator = np.random.default_rng(0)
    picks = [[0], [59], [24], [23, 25], [59, 0, 59, 30], list(range(20, 52))]
    picks += [generator.integers(60, size=5).tolist() for _ in range(12)]
    for indices in picks:
        assert torch.equal(read_video(path, indices), frames[indices]), indices
    pairs = list(iterate_video(path, [3, 40]))
    assert [index for index, _ in pairs] == [3, 40]
    assert torch.equal(pairs[1][1], frames[40])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cut.mp4", ["-ss", "1.5", "-i", "{clip}", "-c", "copy"]),
        ("faststart.mp4", ["-i", "{clip}", "-c", "copy", "-movflags", "+faststart"]),
        ("other.mkv", ["-i", "{clip}", "-c", "copy"]),
        ("other.ts", ["-i", "{clip}", "-c", "copy"]),
        ("other.avi", ["-i", "{clip}", "-c", "copy"]),
        ("other.webm", ["-i", "{clip}", "-c:v", "libvpx-vp9", "-g", "20", "-cpu-used", "8"]),
        ("turned.mp4", ["-display_rotation", "90", "-i", "{clip}", "-c", "copy"]),
        ("open_gop.mp4", ["-i", "{clip}", "-x264-params", "keyint=10:open-gop=1:bframes=6"]),
        ("uneven.mp4", ["-i", "{clip}", "-vf", "select=not(mod(n\\,3))", "-fps_mode", "vfr"]),
        ("tagged.mp4", ["-i", "{clip}", "-vf", "scale=out_color_matrix=bt709:out_range=pc"]),
    ],
)
def test_videos_of_others(
    tmp_path: Path, clip: tuple[Path, Tensor], name: str, arguments: list[str]
) -> None:
    """Edit lists, containers without frame counts, turned pictures, open GOPs, uneven rates."""
    path = tmp_path / name
    ffmpeg(*[argument.format(clip=clip[0]) for argument in arguments], path)
    info, frames = video_info(path), read_video(path)
    assert frames.shape == (info.num_frames, info.height, info.width, 3)
    expected = decoded_by_ffmpeg(path, info.height, info.width)
    assert torch.equal(frames, expected)
    indices = [info.num_frames - 1, 0, info.num_frames // 2, 7, 7]
    assert torch.equal(read_video(path, indices), frames[indices])


def test_a_writer_takes_batches_from_another_thread(tmp_path: Path, pictures: Pictures) -> None:
    """Frames lost between batches, or an encoder bound to the thread that opened it."""
    path, frames = tmp_path / "a.mp4", pictures(11, 32, 48)
    with VideoWriter(path, fps=29.97) as writer:
        for batch in (frames[:1], frames[1:8], frames[8:8], frames[8:]):
            thread = threading.Thread(target=writer.write, args=(batch,))
            thread.start()
            thread.join()
        assert not path.exists()
    assert writer.num_frames == 11
    assert video_info(path) == VideoInfo(11, 32, 48, 29.97)
    whole = tmp_path / "whole.mp4"
    write_video(whole, frames, fps=29.97)
    assert torch.equal(read_video(path), read_video(whole))


@pytest.mark.slow
def test_every_encoding_is_the_same(tmp_path: Path) -> None:
    """An encoder that now and then reads what its memory held before."""
    coarse = torch.rand(1, 3, 22, 40, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(coarse, (176, 320), mode="bilinear")[0]
    picture = (smooth * 255).to(torch.uint8).movedim(0, -1)
    frames = torch.stack([picture.roll(3 * index, 1) for index in range(9)])
    path = tmp_path / "again.mp4"
    write_video(path, frames, fps=24)
    first = path.read_bytes()
    for _ in range(800):
        write_video(path, frames, fps=24)
        assert path.read_bytes() == first


def test_a_failed_writer_leaves_nothing(tmp_path: Path, pictures: Pictures) -> None:
    """Half a video under the final name after an exception, before or after the first frame."""
    path = tmp_path / "a.mp4"
    for batches in ([], [pictures(3, 32, 48)]):
        with pytest.raises(KeyError), VideoWriter(path, fps=24) as writer:
            for batch in batches:
                writer.write(batch)
            raise KeyError("decoder failed")
    with pytest.raises(InputError, match="a video of 0 frames"):
        write_video(path, iter([]), fps=24)
    with pytest.raises(InputError, match="33x48, expected an even height and width"):
        write_video(path, pictures(2, 33, 48), fps=24)
    with pytest.raises(AssertionError, match=r"\(32, 50\) after \(32, 48\)"):
        write_video(path, iter([pictures(2, 32, 48), pictures(2, 32, 50)]), fps=24)
    assert list(tmp_path.iterdir()) == []


def test_broken_videos_are_refused(tmp_path: Path, clip: tuple[Path, Tensor]) -> None:
    """Missing, empty, foreign and truncated files; black or missing frames for lost data."""
    path = tmp_path / "a.mp4"
    for read in (read_video, video_info, video_header):
        with pytest.raises(InputError, match="no such file"):
            read(path)
    whole = clip[0].read_bytes()
    for broken in (b"", b"text", whole[: len(whole) // 2], whole[: whole.rindex(b"moov") + 300]):
        path.write_bytes(broken)
        for read in (read_video, video_info, video_header):
            with pytest.raises(InputError, match=f"{path}: got (unreadable|no video stream)"):
                read(path)
    for indices in ([60], [0, -1]):
        with pytest.raises(InputError, match="expected one of its 60 frames"):
            read_video(clip[0], indices)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.1", path)
    with pytest.raises(InputError, match="no video stream"):
        read_video(path)


def test_a_video_whose_data_end_early_is_refused(tmp_path: Path, clip: tuple[Path, Tensor]) -> None:
    """A download that broke off: the header in front promises frames that are not there."""
    path = tmp_path / "a.mp4"
    ffmpeg("-i", clip[0], "-c", "copy", "-movflags", "+faststart", path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert video_header(path).num_frames == 60
    for indices in (None, [2, 5], [59]):
        with pytest.raises(InputError, match=f"{path}: got .* expected a complete"):
            read_video(path, indices)
