"""Which files are paired, in which order, and what is refused."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from src.evaluation.sources import find_pairs, open_footage
from src.io.video.video import write_video
from src.runtime import InputError


def touch(folder: Path, *names: str) -> Path:
    """Empty files: pairing goes by names alone."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_pairs_go_by_name_without_suffix_in_natural_order(tmp_path: Path) -> None:
    """Would catch pairs by position, 10 before 2, and side files taken for videos."""
    ours = touch(tmp_path / "a", "v10.mp4", "v2.MP4", "c/0.png", "no.txt", ".v3.mp4", "raw/x.npz")
    theirs = touch(tmp_path / "b", "v2.mov", "c.mp4", "v10.mp4", "v7.mp4")
    pairs, only_ours, only_theirs = find_pairs(ours, theirs)
    found = [(name, first.name, second.name) for name, (first, second) in pairs.items()]
    assert found == [("c", "c", "c.mp4"), ("v2", "v2.MP4", "v2.mov"), ("v10",) + 2 * ("v10.mp4",)]
    assert (only_ours, only_theirs) == ([], ["v7"])


def test_a_file_pairs_with_a_folder_of_frames(tmp_path: Path) -> None:
    """Would catch a folder of frames that is searched for a file of the other's name."""
    ours, theirs = touch(tmp_path / "a", "x.mp4") / "x.mp4", touch(tmp_path / "frames", "0.png")
    pairs, *_ = find_pairs(ours, theirs)
    assert pairs == {"x": (ours, theirs)}


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ((), "no such file or folder"),
        (("notes.txt",), "nothing to compare"),
        (("q.mp4", "r.mp4"), r"no common names: q, r; x"),
        (("x.mp4", "x.png"), r"x.mp4 and x.png, expected one file"),
    ],
)
def test_folders_that_do_not_pair(tmp_path: Path, ours: tuple[str, ...], words: str) -> None:
    """Would catch an empty table, or one of two files of a name chosen by chance."""
    theirs = touch(tmp_path / "b", "x.mp4")
    with pytest.raises(InputError, match=words):
        find_pairs(touch(tmp_path / "a", *ours), theirs)


def test_frames_of_a_folder_come_in_order_and_have_one_size(tmp_path: Path) -> None:
    """Would catch frame 10 read before frame 2, and a frame of another size let through."""
    for index in range(11):
        Image.new("RGB", (6, 4), (index, 0, 0)).save(tmp_path / f"frame_{index}.png")
    footage = open_footage(tmp_path)
    assert (footage.num_frames, footage.height, footage.width) == (11, 4, 6)
    assert [int(frame[0, 0, 0]) for frame in footage.frames(11)] == list(range(11))
    Image.new("RGB", (6, 5)).save(tmp_path / "frame_3.png")
    with pytest.raises(InputError, match="frame_3.png: got 5x6 pixels, expected 4x6"):
        list(footage.frames(11))


def test_frames_of_a_video(tmp_path: Path) -> None:
    """Would catch more frames than were asked for, or others than the first."""
    levels = torch.arange(0, 250, 50, dtype=torch.uint8)
    write_video(tmp_path / "v.mp4", levels[:, None, None, None].expand(-1, 16, 24, 3), 24)
    footage = open_footage(tmp_path / "v.mp4")
    assert (footage.num_frames, footage.height, footage.width) == (5, 16, 24)
    found = torch.stack([frame.float().mean() for frame in footage.frames(3)])
    torch.testing.assert_close(found, levels[:3].float(), atol=3, rtol=0)


@pytest.mark.parametrize("name", ["broken.mp4", "broken.png", "clip.gif"])
def test_files_that_cannot_be_compared(tmp_path: Path, name: str) -> None:
    """Would catch a damaged file that counts as an empty one, or an animation read as a picture."""
    (tmp_path / name).write_bytes(b"not what the name says" * 20)
    with pytest.raises(InputError, match=name):
        open_footage(tmp_path / name)
