from pathlib import Path

import pytest
import torch
from video_making import ffmpeg

from src.io.video.video import VideoInfo, read_video, video_header, video_info
from src.runtime import InputError

CORPUS = Path(__file__).parents[3] / "corpus" / "video"
SOURCE = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=2"]
FRAGMENTS = ["-c:v", "libx264", "-g", "8", "-movflags"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.mp4", [*FRAGMENTS, "frag_keyframe+empty_moov+default_base_moof"]),
        ("b.mp4", [*FRAGMENTS, "frag_keyframe+delay_moov+global_sidx+default_base_moof"]),
        ("c.mp4", [*FRAGMENTS, "frag_keyframe"]),
        ("d.mp4", [*FRAGMENTS, "dash"]),
        ("e.mp4", [*FRAGMENTS, "cmaf+frag_keyframe"]),
    ],
)
def test_every_fragment_is_read(tmp_path: Path, name: str, arguments: list[str]) -> None:
    """The first fragment taken for the whole video: its index lists no other."""
    path = tmp_path / name
    ffmpeg(*SOURCE, *arguments, path)
    assert video_info(path) == video_header(path) == VideoInfo(48, 64, 96, 24.0)
    whole = read_video(path)
    assert len(whole) == 48
    assert torch.equal(read_video(path, [47, 0, 20]), whole[[47, 0, 20]])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.97])
def test_a_cut_segment_index_shows(tmp_path: Path, share: float) -> None:
    """A download that broke off, taken for a shorter video."""
    content = (CORPUS / "dash_sidx.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: int(len(content) * share)])
    for read in (video_info, video_header, read_video):
        with pytest.raises(InputError, match=r"cut.mp4: got .*(truncated|unreadable)"):
            read(path)


def test_the_rate_is_that_of_the_frames(tmp_path: Path) -> None:
    """A clock of 1000 ticks a second taken for 1000 frames a second, or an average left aside."""
    path = tmp_path / "uneven.mp4"
    uneven = "setpts='(N*3+mod(N\\,2))*1001/30000/TB'"
    ffmpeg(*SOURCE, "-vf", uneven, "-fps_mode", "vfr", "-video_track_timescale", "30000", path)
    assert video_info(path).fps == pytest.approx(30000 / 1001 / 3, rel=0.05)
    still = tmp_path / "still.webm"
    ffmpeg(*SOURCE, "-frames:v", "1", "-c:v", "libvpx", still)
    assert video_info(still).fps <= 60


def test_references_are_no_frames(tmp_path: Path) -> None:
    """VP8's hidden frames counted: numbers beyond the last picture, and wrong ones before."""
    path = tmp_path / "hidden.webm"
    source = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=4"]
    hidden = ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-b:v", "100k"]
    ffmpeg(*source, *hidden, path)
    whole = read_video(path)
    assert video_info(path).num_frames == len(whole) == 96
    assert torch.equal(read_video(path, [0, 50, 95]), whole[[0, 50, 95]])


def test_leading_frames_without_their_reference(tmp_path: Path) -> None:
    """An open group of pictures at a cut: packets that no decoder can show are counted."""
    whole, path = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    options = "keyint=12:min-keyint=12:open-gop=1:bframes=4:scenecut=0:b-adapt=0"
    ffmpeg(*SOURCE, "-c:v", "libx265", "-x265-params", f"log-level=none:{options}", whole)
    ffmpeg("-ss", "1.0", "-i", whole, "-c", "copy", path)
    frames, info = read_video(path), video_info(path)
    assert info.num_frames == len(frames)
    assert torch.equal(read_video(path, [info.num_frames - 1, 3]), frames[[-1, 3]])
    # Packets after the last picture repeat it.
    beyond = list(range(video_header(path).num_frames))
    assert torch.equal(read_video(path, beyond)[-1], frames[-1])


def test_a_cut_stream_keeps_its_rate(tmp_path: Path) -> None:
    """Half of the frames without their reference, and the video at half its speed."""
    whole, path = tmp_path / "whole.ts", tmp_path / "cut.ts"
    ffmpeg(*SOURCE, "-c:v", "libx264", "-g", "24", "-x264-params", "open-gop=1", whole)
    path.write_bytes(whole.read_bytes()[188 * 60 :])
    info = video_info(path)
    assert info.fps == 24.0 and 0 < info.num_frames < 48
    frames = read_video(path)
    assert len(frames) == info.num_frames
    assert torch.equal(read_video(path, [info.num_frames - 1])[0], frames[-1])
