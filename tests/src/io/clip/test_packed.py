"""Tar parts as folders: the same clips as unpacked, whichever part has what."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip, ClipPaths, list_keys, list_trajectories, open_clip, write_clip
from src.io.clip.packed import PackedPath, open_root
from src.runtime import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trajectories of three scenes, with everything that a clip can have."""
    root = tmp_path_factory.mktemp("clips")
    generator = torch.Generator().manual_seed(0)
    for key in ("10", "2", "a-b"):
        for name in ("0", "11"):
            frames = torch.randint(0, 255, (5, 16, 32, 3), generator=generator, dtype=torch.uint8)
            lens = torch.tensor([30.0, 31.0, 16.0, 8.0]).repeat(5, 1)
            cameras = Cameras(torch.eye(4).repeat(5, 1, 1), lens, 32, 16)
            latents = torch.randn(4, 2, 2, 4, generator=generator)
            depth = torch.rand(5, 16, 32, generator=generator) + 1
            write_clip(ClipPaths(root, name, key), Clip(cameras, 24, frames, latents, depth))
    return root


def pack(folder: Path, parts: list[Path], prefix: str = "") -> None:
    """All files of a folder, dealt out to parts one by one: a clip is spread over all of them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number, part in enumerate(parts):
        with tarfile.open(part, "w") as archive:
            for path in files[number :: len(parts)]:
                archive.add(path, prefix + str(path.relative_to(folder)))


def same_clip(ours: ClipPaths, theirs: ClipPaths) -> None:
    """Every part of two clips, the frames also one by one."""
    one, two = open_clip(ours), open_clip(theirs)
    assert one.info == two.info and one.paths.latent.is_file() and one.has_depth
    for frames in (None, [3, 1, 3]):
        assert torch.equal(one.frames(frames), two.frames(frames))
        assert torch.equal(one.depth(frames), two.depth(frames))
        assert torch.equal(one.cameras(frames).c2w, two.cameras(frames).c2w)
        assert torch.equal(one.cameras(frames).intrinsics, two.cameras(frames).intrinsics)
    assert torch.equal(one.latents(), two.latents())
    assert one.meta() == two.meta() != {}


@pytest.mark.parametrize("prefix", ["", "sdg/static/"])
def test_packed_clips_are_the_unpacked_ones(folder: Path, tmp_path: Path, prefix: str) -> None:
    """A reader that takes another range of bytes, or does not find what another part has."""
    parts = [tmp_path / f"part-{number}.tar" for number in range(3)]
    pack(folder, parts, prefix)
    for source in (tmp_path, str(tmp_path / "part-[0-9].tar")):
        root = open_root(source)
        assert list_trajectories(root) == list_trajectories(folder) == ["0", "11"]
        assert list_keys(root) == list_keys(folder) == ["2", "10", "a-b"]
        for name, key in (("0", "2"), ("11", "a-b")):
            same_clip(ClipPaths(root, name, key), ClipPaths(folder, name, key))
    assert open_root(root) is root


def test_a_packed_folder_is_used_like_a_folder(folder: Path, tmp_path: Path) -> None:
    """Folders that are files, names that lead out, what a worker process is sent."""
    pack(folder, [tmp_path / "part.tar"])
    root = open_root(tmp_path / "part.tar")
    assert root.is_dir() and not root.is_file()
    names = [path.name for path in (root / "0").iterdir()]
    assert names == sorted(path.name for path in (folder / "0").iterdir())
    video = root / "0" / "rgb" / "2.mp4"
    assert video.is_file() and video.exists() and not video.is_dir()
    assert (video.stem, video.suffix) == ("2", ".mp4")
    assert str(video) == str(tmp_path / "part.tar" / "0" / "rgb" / "2.mp4")
    for missing in ("0/rgb/3.mp4", "0/rgb/2.mp", "0/rgb/2.mp4/x", "../part.tar", "0/rg"):
        assert not (root / missing).exists()
        with pytest.raises(FileNotFoundError):
            (root / missing).open("rb")
    sent = pickle.loads(pickle.dumps(video))
    assert sent.read_bytes() == video.read_bytes() == (folder / "0/rgb/2.mp4").read_bytes()
    assert isinstance(sent, PackedPath)


def test_a_range_reads_like_a_file(folder: Path, tmp_path: Path) -> None:
    """Reads beyond the end of a member into the next one, positions that are shared or off."""
    pack(folder, [tmp_path / "part.tar"])
    packed, plain = (root / "0" / "latent" / "2.pkl" for root in (open_root(tmp_path), folder))
    generator = np.random.default_rng(0)
    with packed.open("rb") as one, packed.open("rb") as other, plain.open("rb") as expected:
        assert one.seek(0, io.SEEK_END) == expected.seek(0, io.SEEK_END)
        size = expected.tell()
        for _ in range(200):
            at, count = int(generator.integers(size + 9)), int(generator.integers(1, 400))
            assert one.seek(at) == expected.seek(at) == at
            assert one.read(count) == expected.read(count)
        assert other.read() == plain.read_bytes() and other.read(1) == b""
        with pytest.raises(OSError, match="before the start"):
            one.seek(-1, io.SEEK_SET)


def test_a_missing_member_is_named(folder: Path, tmp_path: Path) -> None:
    """A part that was not downloaded: an error deep inside of a library, or none at all."""
    pack(folder, [tmp_path / "0.tar", tmp_path / "1.tar"])
    (tmp_path / "1.tar").unlink()
    root = open_root(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        for key in ("2", "10", "a-b"):
            open_clip(ClipPaths(root, "0", key)).latents()


def test_a_part_that_shrinks_later_is_named(folder: Path, tmp_path: Path) -> None:
    """Garbage or an endless read where a part is replaced while it is used."""
    part = tmp_path / "part.tar"
    pack(folder, [part])
    root = open_root(tmp_path)
    part.write_bytes(part.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"part\.tar: got 2000 bytes \(truncated\)"):
        open_clip(ClipPaths(root, "11", "2"))


def test_damage_inside_of_a_member_is_named(folder: Path, tmp_path: Path) -> None:
    """Damaged content that is blamed on nothing, or comes as another error than a user's."""
    part = tmp_path / "part.tar"
    pack(folder, [part])
    root = open_root(tmp_path)
    index = open_root(tmp_path)
    assert isinstance(index, PackedPath)
    content = bytearray(part.read_bytes())
    for kind in ("rgb/2.mp4", "pose/2.npz", "latent/2.pkl", "depth/2.zip", "meta/2.json"):
        place = index._archive.find(f"0/{kind}")
        assert place is not None
        content[place[1] : place[1] + place[2]] = b"\xfe" * place[2]
    part.write_bytes(bytes(content))
    clip = open_clip(ClipPaths(root, "11", "2"))
    damaged = ClipPaths(root, "0", "2")
    with pytest.raises(InputError, match=r"part\.tar/0/rgb/2\.mp4"):
        open_clip(damaged)
    for name in ("latents", "depth", "meta"):
        with pytest.raises(InputError, match=r"part\.tar/0/"):
            getattr(type(clip)(damaged, clip.info, clip.poses, clip.intrinsics), name)()


def test_what_is_ambiguous_or_empty_is_refused(folder: Path, tmp_path: Path) -> None:
    """A file in two parts, parts beside what was unpacked of them, a pattern of nothing."""
    for name in ("a.tar", "b.tar"):
        pack(folder, [tmp_path / name])
    with pytest.raises(InputError, match=r"b\.tar: got '0/depth/10.zip', which .*a\.tar"):
        open_root(tmp_path)
    (tmp_path / "b.tar").unlink()
    (tmp_path / "0" / "rgb").mkdir(parents=True)
    with pytest.raises(InputError, match="unpacked clips"):
        open_root(tmp_path)
    with pytest.raises(InputError, match="pattern of tar parts"):
        open_root(tmp_path / "c*.tar")
    with tarfile.open(tmp_path / "c.tgz", "w:gz"):
        pass
    for source in (tmp_path / "c.tgz", tmp_path / "?.tgz"):
        with pytest.raises(InputError, match="uncompressed"):
            open_root(source)
    with tarfile.open(tmp_path / "d.tar", "w"):
        pass
    with pytest.raises(InputError, match="without a file"):
        open_root(tmp_path / "d.tar")
    assert open_root(tmp_path / "nowhere") == tmp_path / "nowhere"
    assert open_root(folder) == folder
