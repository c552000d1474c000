"""Small whole files of every kind that is read, for tests that damage them."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import tiny_video
import torch
from corpus import generated
from PIL import Image
from safetensors.torch import save_file

from cosmos_predict1.diffusion.config import InputConfig
from cosmos_predict1.diffusion.scenes.inputs import scene_inputs
from cosmos_predict1.diffusion.scenes.posed_video import read_posed_tensors
from src.depth.backends.vipe import _iterate_masks
from src.io.cameras.file import read_camera_file, trajectory_from_file
from src.io.cameras.frame_table import read_intrinsics, read_poses, write_frame_table
from src.io.clip.latents import read_latents, write_latents
from src.io.clip.packed import open_root
from src.io.damage import read_safetensors, write_archive
from src.io.depth_file import read_depth_file, write_depth_archive
from src.io.image import read_image
from src.io.json_object import read_json_object
from src.io.ply import read_ply, write_ply
from src.io.video.video import iterate_video, read_video, video_header, video_info

VIDEOS = Path(__file__).parent / "video"


@dataclass(frozen=True)
class Seed:
    """A whole file, by its suffix and bytes, and what reads it; the answers are checked."""

    name: str
    suffix: str
    content: bytes = field(repr=False)
    read: Callable[[Path], object]


def make_seeds(folder: Path) -> list[Seed]:
    """All seeds; `folder` is for files on the way."""
    seeds = [*_cameras(folder), *_colmap(), *_depths(folder), *_pictures(folder), *_parts(folder)]
    for path in sorted(VIDEOS.iterdir()):
        seeds.append(Seed(path.name, path.suffix, path.read_bytes(), _read_video))
    return seeds


def _made(folder: Path, name: str, make: Callable[[Path], object]) -> bytes:
    path = folder / name
    make(path)
    content = path.read_bytes()
    path.unlink()
    return content


def _cameras(folder: Path) -> list[Seed]:
    timed = generated.cameras(times=[0, 1], fps=30.0)
    makes = [
        ("plain", ".json", timed),
        ("transforms", ".json", generated.transforms()),
        ("arrays", ".npz", generated.arrays(**generated.CAMERAS)),
    ]
    return [
        Seed(name, suffix, _made(folder, f"a{suffix}", make), _read_cameras)
        for name, suffix, make in makes
    ]


def _colmap() -> list[Seed]:
    seeds = []
    for binary in (True, False):
        files = generated.colmap_files(binary)
        for name, content in files.items():
            seeds.append(Seed(name, Path(name).suffix, content, partial(_read_colmap, name, files)))
    return seeds


def _read_colmap(name: str, files: Mapping[str, bytes], path: Path) -> None:
    """The model whose file `name` is at `path`."""
    folder = path.parent / f"{path.stem}_model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for other, content in files.items():
        (folder / other).write_bytes(path.read_bytes() if other == name else content)
    try:
        _read_cameras(folder)
    finally:
        shutil.rmtree(folder)


def _depths(folder: Path) -> list[Seed]:
    depth = np.linspace(1, 3, 2 * 12 * 16, dtype=np.float32).reshape(2, 12, 16)
    lens = np.array(generated.LENS)
    makes: list[tuple[str, Callable[[Path], object]]] = [
        ("a.npy", lambda path: np.save(path, depth)),
        ("a.npz", lambda path: np.savez_compressed(path, depth=depth, intrinsics=lens)),
        ("a.zip", lambda path: write_depth_archive(path, torch.from_numpy(depth))),
        ("a.exr", lambda path: _write_exr(path, depth[0])),
    ]
    return [
        Seed(f"depth {name}", Path(name).suffix, _made(folder, name, make), _read_depth)
        for name, make in makes
    ]


def _write_exr(path: Path, depth: np.ndarray) -> None:
    import OpenEXR

    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": depth}).write(str(path))


def _pictures(folder: Path) -> list[Seed]:
    values = np.arange(24 * 32 * 4, dtype=np.uint32).reshape(24, 32, 4) % 251
    picture = Image.fromarray(values.astype(np.uint8), "RGBA")
    seeds = []
    for suffix in (".png", ".webp", ".tiff", ".avif"):
        content = _made(folder, f"a{suffix}", lambda path: picture.save(path))
        seeds.append(Seed(f"picture {suffix}", suffix, content, read_image))
    for suffix in (".jpg", ".bmp"):
        content = _made(folder, f"a{suffix}", lambda path: picture.convert("RGB").save(path))
        seeds.append(Seed(f"picture {suffix}", suffix, content, read_image))
    content = _made(folder, "a.png", lambda path: picture.quantize(17).save(path))
    return [*seeds, Seed("palette", ".png", content, read_image)]


def _parts(folder: Path) -> list[Seed]:
    cameras = tiny_video.cameras(3)
    lines = [json.dumps({"prompt": f"a lake {number}"}) for number in range(3)]
    latents = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    mask = _made(folder, "a.png", lambda path: Image.new("L", (8, 6), 255).save(path))
    masks = [("00000.png", mask), ("00001.png", mask)]
    makes: list[tuple[str, Callable[[Path], object], Callable[[Path], object]]] = [
        ("pose.npz", lambda path: write_frame_table(path, cameras.c2w), read_poses),
        ("lens.npz", lambda path: write_frame_table(path, cameras.intrinsics), read_intrinsics),
        ("a.pkl", lambda path: write_latents(path, latents), read_latents),
        ("a.ply", lambda path: write_ply(path, _gaussians()), _read_gaussians),
        ("a.pt", lambda path: tiny_video.write_tensors(path, 2), _read_posed),
        ("a.safetensors", lambda path: save_file({"a": latents}, path), read_safetensors),
        ("meta.json", lambda path: path.write_text('{"files": ["rgb"]}'), read_json_object),
        ("a.jsonl", lambda path: path.write_text("\n".join(lines)), _read_lines),
        ("masks.zip", lambda path: write_archive(path, masks), _read_masks),
        ("a.tar", lambda path: _write_tar(path, mask), _read_parts),
    ]
    return [
        Seed(name, Path(name).suffix, _made(folder, name, make), read) for name, make, read in makes
    ]


def _gaussians() -> "object":
    from src.gaussians import Gaussians

    return Gaussians.from_packed(torch.rand(4, 14, generator=torch.Generator().manual_seed(0)))


def _write_tar(path: Path, content: bytes) -> None:
    import io
    import tarfile

    with tarfile.open(path, "w") as archive:
        for name in ("0/rgb/a.mp4", "0/pose/a.npz"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _read_cameras(path: Path) -> None:
    cameras = read_camera_file(path, (64, 48)).cameras
    assert cameras.c2w.isfinite().all() and (cameras.intrinsics[:, :2] > 0).all()
    assert trajectory_from_file(path, 3, 64, 48).c2w.isfinite().all()


def _read_depth(path: Path) -> None:
    stored = read_depth_file(path)
    assert (stored.depth > 0).any()
    assert stored.intrinsics is None or (stored.intrinsics[:, :2] > 0).all()


def _read_gaussians(path: Path) -> None:
    assert read_ply(path).packed().isfinite().all()


def _read_posed(path: Path) -> None:
    assert read_posed_tensors(path, 24.0).K.isfinite().all()


def _read_lines(path: Path) -> None:
    scene_inputs(InputConfig(batch=str(path)), False)


def _read_masks(path: Path) -> None:
    list(_iterate_masks(path, [0, 1]))


def _read_parts(path: Path) -> None:
    root = open_root(path)
    for folder in root.iterdir():
        if folder.is_dir():
            list(folder.iterdir())


def _read_video(path: Path) -> None:
    info = video_info(path)
    assert info.num_frames > 0 and info.fps > 0
    video_header(path)
    assert len(read_video(path)) > 0
    assert len(list(iterate_video(path, [0]))) == 1
