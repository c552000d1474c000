import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from src.io.depth_file import count, read_depth_archive, write_depth_archive
from src.runtime import InputError


def exr(channels: dict[str, np.ndarray]) -> bytes:
    import OpenEXR

    content = io.BytesIO()
    OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(content)
    return content.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_depth_comes_back_as_half_floats(tmp_path: Path) -> None:
    """Lost rows, swapped axes, another rounding than to half floats."""
    path = tmp_path / "depth" / "a.zip"
    depth = torch.rand(4, 5, 7) * 100
    write_depth_archive(path, depth)
    read = read_depth_archive(path)
    assert read.dtype == torch.float32
    assert torch.equal(read, depth.half().float())
    assert count(path) == 4


def test_the_file_is_the_published_format(tmp_path: Path) -> None:
    """Another member name, channel name or pixel type than published readers look for."""
    import OpenEXR

    path = tmp_path / "a.zip"
    write_depth_archive(path, torch.ones(2, 3, 4))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["00000.exr", "00001.exr"]
        assert archive.getinfo("00001.exr").compress_type == zipfile.ZIP_STORED
        (tmp_path / "one.exr").write_bytes(archive.read("00001.exr"))
    channels = OpenEXR.File(str(tmp_path / "one.exr")).channels()
    assert list(channels) == ["Z"] and channels["Z"].pixels.dtype == np.float16


def test_single_frames_in_any_order(tmp_path: Path) -> None:
    """Frames returned in the order of the file instead of the order asked for."""
    path = tmp_path / "a.zip"
    depth = torch.arange(6.0)[:, None, None].expand(6, 2, 3)
    write_depth_archive(path, depth)
    assert read_depth_archive(path, [5, 0, 5, 3])[:, 0, 0].tolist() == [5, 0, 5, 3]


def test_values_outside_the_half_range(tmp_path: Path) -> None:
    """Far depth that silently becomes infinite, or unknown depth that becomes a number."""
    path = tmp_path / "a.zip"
    values = torch.tensor([[[1e6, -1e6, torch.inf, -torch.inf, 65519.0, 0.0]]])
    write_depth_archive(path, values)
    expected = [65504, -65504, torch.inf, -torch.inf, 65504, 0]
    assert read_depth_archive(path).flatten().tolist() == expected
    write_depth_archive(path, values * torch.nan)
    assert read_depth_archive(path).isnan().all()


def test_float_channels_and_compressed_members_are_read(tmp_path: Path) -> None:
    """Archives of other writers: 32-bit pixels, deflated members, more channels."""
    path = tmp_path / "a.zip"
    picture = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_zip(path, {"00000.exr": exr({"Z": picture, "A": picture * 0})})
    assert torch.equal(read_depth_archive(path)[0], torch.from_numpy(picture))


def test_broken_archives_are_refused(tmp_path: Path) -> None:
    """Missing, truncated or foreign archives, missing members, pictures that are none."""
    path = tmp_path / "a.zip"
    with pytest.raises(InputError, match="no such file"):
        read_depth_archive(path)
    write_depth_archive(path, torch.rand(3, 40, 50))
    whole = path.read_bytes()
    with pytest.raises(InputError, match=r"no member 00003\.exr for frame 3"):
        read_depth_archive(path, [0, 3])
    for broken in (b"", whole[: len(whole) // 2], whole[:-10], b"text"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=f"{path}: got unreadable"):
            read_depth_archive(path)
    damaged = bytearray(whole)
    damaged[2000] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"unreadable 00000\.exr"):
        read_depth_archive(path)


def test_broken_pictures_are_refused(tmp_path: Path) -> None:
    """A truncated EXR read as zeros, another channel, sizes that differ, a gap in the frames."""
    path = tmp_path / "a.zip"
    small, large = (exr({"Z": np.ones((h, 8), np.float16)}) for h in (4, 200))
    for content in (b"", b"text", large[: len(large) // 2], large[:-5]):
        write_zip(path, {"00000.exr": content})
        with pytest.raises(InputError, match="unreadable picture for frame 0"):
            read_depth_archive(path)
    write_zip(path, {"00000.exr": exr({"Y": np.ones((4, 8), np.float16)})})
    with pytest.raises(InputError, match=r"channels \['Y'\] for frame 0"):
        read_depth_archive(path)
    write_zip(path, {"00000.exr": small, "00001.exr": large})
    with pytest.raises(InputError, match=r"sizes \[\(4, 8\), \(200, 8\)\]"):
        read_depth_archive(path)
    write_zip(path, {"00000.exr": small, "00002.exr": small})
    with pytest.raises(InputError, match="2 depth maps, the last of frame 2"):
        read_depth_archive(path)
    write_zip(path, {"readme.txt": b""})
    with pytest.raises(InputError, match="0 depth maps"):
        read_depth_archive(path)


def test_equal_depth_is_equal_files(tmp_path: Path) -> None:
    """Bytes that tell the time of the call, by which a run that was stopped differs."""
    path = tmp_path / "a.zip"
    write_depth_archive(path, torch.ones(2, 4, 6))
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
