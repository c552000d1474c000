import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor
from video_making import ffmpeg

from src.io.video.shown_frame import CONVERSION_THREADS
from src.io.video.video import VideoInfo, read_video, video_info, write_video
from src.runtime import InputError

# The eight ways to turn and mirror, as `a b c d` of the matrix: (a x + c y, b x + d y).
TURNS = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
TURNS += [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A video whose four quarters differ, and its frames."""
    path = tmp_path_factory.mktemp("shown") / "plain.mp4"
    picture = torch.zeros(32, 48, 3, dtype=torch.uint8)
    picture[:16, :24], picture[:16, 24:], picture[16:, :24] = 250, 170, 90
    write_video(path, picture.expand(5, 32, 48, 3), fps=24)
    return path, read_video(path)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_every_display_matrix(
    tmp_path: Path, plain: tuple[Path, Tensor], turn: tuple[int, int, int, int]
) -> None:
    """A mirrored video on its head, or one turned the wrong way, unlike ffmpeg shows it."""
    a, b, c, d = turn
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    matrix = [65536 * value for value in (a, b, 0, c, d, 0)] + [0, 0, 1 << 30]
    content = plain[0].read_bytes()
    # The second of the two is that of the track.
    place = content.rindex(identity)
    path = tmp_path / "turned.mp4"
    path.write_bytes(content[:place] + struct.pack(">9i", *matrix) + content[place + 36 :])
    frames = read_video(path)
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(frames.shape)
    assert (frames.numpy() == expected).all()
    assert frames.shape[1:3] == ((32, 48) if a else (48, 32))


@pytest.mark.parametrize(("ratio", "width"), [("4/3", 64), ("16/15", 51), ("1/2", 24)])
def test_pixels_become_square(
    tmp_path: Path, plain: tuple[Path, Tensor], ratio: str, width: int
) -> None:
    """People made thin or wide: the stored width taken for the one that is shown."""
    path = tmp_path / "wide.mp4"
    ffmpeg("-i", plain[0], "-vf", f"setsar={ratio}", path)
    assert video_info(path) == VideoInfo(5, 32, width, 24.0)
    frames = read_video(path, [1, 3])
    assert frames.shape == (2, 32, width, 3)
    # The edge between the quarters stays in the middle.
    assert frames[0, 8, width // 2 - 4].float().mean() > 230
    assert frames[0, 8, width // 2 + 4].float().mean() < 190


def test_absurd_pixels_are_refused(tmp_path: Path, plain: tuple[Path, Tensor]) -> None:
    """A damaged header that makes a picture of millions of columns."""
    path = tmp_path / "wide.mp4"
    ffmpeg("-i", plain[0], "-vf", "setsar=30/1", path)
    with pytest.raises(InputError, match=r"wide.mp4: got pixels of 30:1, expected a ratio"):
        read_video(path)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.mov", ["-c:v", "prores_ks", "-profile:v", "4444"]),
        ("a.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"]),
        ("a.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"]),
        ("a.webm", ["-c:v", "libvpx", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p"]),
    ],
)
def test_transparent_videos_lie_on_white(tmp_path: Path, name: str, arguments: list[str]) -> None:
    """Hidden colours shown, or black, where a video is transparent."""
    raw = np.zeros((4, 32, 64, 4), dtype=np.uint8)
    raw[..., 0], raw[:, :, 32:, 3] = 200, 255
    source = tmp_path / "raw"
    source.write_bytes(raw.tobytes())
    path = tmp_path / name
    stream = ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", "64x32", "-r", "24", "-i", source]
    ffmpeg(*stream, *arguments, path)
    frames = read_video(path, [0, 3]).float()
    assert video_info(path).num_frames == 4
    assert (frames[:, :, 4:26] - 255).abs().max() <= 2
    red = torch.tensor([200.0, 0.0, 0.0])
    assert (frames[:, 8:24, 40:60] - red).abs().mean() < 12


def test_a_size_that_changes(tmp_path: Path, plain: tuple[Path, Tensor]) -> None:
    """Recordings of a screen whose window grew: frames of two sizes in one video."""
    parts = []
    for name, size in (("a.ts", "48:32"), ("b.ts", "96:64")):
        ffmpeg("-i", plain[0], "-vf", f"scale={size}", "-bsf:v", "dump_extra", tmp_path / name)
        parts.append((tmp_path / name).read_bytes())
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    frames = read_video(path)
    assert frames.shape == (video_info(path).num_frames, 32, 48, 3) and len(frames) > 6
    assert (frames[-1].float() - frames[0].float()).abs().mean() < 8


def test_one_converter_serves_frames_of_all_kinds(
    pictures: Callable[[int, int, int], Tensor],
) -> None:
    """A converter that keeps the size, format or filter of the frame before."""
    convert = VideoReformatter().reformat
    for height, width in ((36, 64), (36, 64), (48, 32), (176, 320), (36, 64)):
        picture = pictures(1, height, width)[0].numpy()
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        for filtered in ("BICUBIC", "BILINEAR", None):
            known = {"interpolation": filtered, "threads": CONVERSION_THREADS}
            coded = convert(frame, format="yuv420p", **known)
            alone = frame.reformat(format="yuv420p", interpolation=filtered)
            assert np.array_equal(coded.to_ndarray(), alone.to_ndarray())
            again = convert(coded, format="rgb24", threads=CONVERSION_THREADS).to_ndarray()
            assert np.array_equal(again, alone.to_ndarray(format="rgb24"))
