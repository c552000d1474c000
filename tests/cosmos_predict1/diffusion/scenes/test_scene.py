"""Pictures and videos of every layout become the same kind of scene, at the generator's size."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tiny_video
import torch
from tiny_generator import write_depth, write_picture
from tiny_scene import FRAMES, HEIGHT, WIDTH

from cosmos_predict1.diffusion.scenes.posed_video import (
    read_posed_folder,
    read_posed_tensors,
    video_kind,
)
from cosmos_predict1.diffusion.scenes.scene import (
    Center,
    Scene,
    SceneSize,
    filmed_scene,
    posed_scene,
    still_scene,
)
from src.depth.backends.choice import resolve_depth
from src.depth.backends.video import resolve_video_depth
from src.geometry.fit import FitMode
from src.io.image import read_image
from src.runtime import InputError

SIZE = SceneSize(HEIGHT, WIDTH, FRAMES)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "vipe": lambda folder: tiny_video.write_vipe(folder / "result"),
    "tensors": lambda folder: tiny_video.write_tensors(folder / "X.pt"),
    "folder": lambda folder: tiny_video.write_folder(folder / "scene"),
}


def picture_scene(folder: Path, size: SceneSize, shape: tuple[int, int] = (40, 64)) -> Scene:
    image = read_image(write_picture(folder / "a.png", *shape))
    backend = resolve_depth(str(write_depth(folder / "a.npz", *shape)))
    return still_scene(image, backend, size, 24.0)


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(40, 64), (64, 30), (16, 200)])
def test_a_picture_of_any_shape_becomes_a_scene(
    tmp_path: Path, mode: FitMode, shape: tuple[int, int]
) -> None:
    """A shape that breaks the preparation, or a camera that does not follow the picture."""
    scene = picture_scene(tmp_path, replace(SIZE, resize=mode), shape)
    assert scene.sources.image.shape == (1, 3, HEIGHT, WIDTH)
    assert scene.first_frame.shape == (3, HEIGHT, WIDTH)
    assert (scene.rig.w2c == torch.eye(4)).all() and len(scene.rig) == FRAMES
    assert not scene.moving and scene.rig.center_depth == 1
    known = scene.sources.depth[scene.sources.depth > 0]
    assert 0.5 < known.median() < 1.5, "depth in the unit that trajectories assume"
    fx, fy = scene.sources.intrinsics[0, :2]
    assert (torch.isclose(fx, fy, rtol=0.05)) == (mode != "stretch")
    # The first frame is the picture that the warps come from.
    difference = (scene.first_frame - scene.sources.image[0]).abs()
    assert difference.median() < (0.05 if mode == "stretch" else 1e-3)


def test_a_known_lens_replaces_the_estimated_one(tmp_path: Path) -> None:
    """The cameras of a user's file, whose first one took the picture, ignored."""
    image = read_image(write_picture(tmp_path / "a.png"))
    backend = resolve_depth(str(write_depth(tmp_path / "a.npz")))
    lens = torch.tensor([33.0, 34, 20, 10])
    scene = still_scene(image, backend, SIZE, 24.0, lens)
    assert (scene.sources.intrinsics == lens).all() and (scene.rig.intrinsics == lens).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_the_layouts_of_a_video_mean_the_same(tmp_path: Path, kind: str) -> None:
    """Depth, poses or lens of one layout read in another way than those of the others."""
    path = WRITERS[kind](tmp_path)
    assert video_kind(path) == kind
    scene = posed_scene(path, SIZE, 0, None, 24.0, "known")
    wanted = tiny_video.cameras()
    torch.testing.assert_close(scene.rig.w2c, wanted.w2c, atol=1e-5, rtol=0)
    torch.testing.assert_close(scene.rig.intrinsics, wanted.intrinsics, atol=1e-3, rtol=0)
    torch.testing.assert_close(scene.sources.depth, tiny_video.depth(), atol=2e-3, rtol=0)
    target = tiny_video.frames().permute(0, 3, 1, 2) / 127.5 - 1
    assert (scene.sources.image - target).abs().mean() < 0.05, "video compression aside"
    assert scene.rig.center_depth == pytest.approx(3, abs=0.01)
    assert scene.fps == (24 if kind == "tensors" else 12)
    assert (scene.first_frame == scene.sources.image[0]).all()
    assert scene.sources.mask is not None and scene.sources.mask.all()
    assert posed_scene(path, SIZE, 0, 30.0, 24.0).fps == 30
    assert posed_scene(path, SIZE, 0, 30.0, 24.0).rig.center_depth == 1


def test_the_published_centre_counts_pixels_without_depth(tmp_path: Path) -> None:
    """A flag for the published paths whose centre is not the published one."""
    path = tiny_video.write_tensors(tmp_path / "X.pt")
    parts = list(torch.load(path, weights_only=True))
    parts[1][:, :, : HEIGHT // 4] = 0
    torch.save(tuple(parts), path)
    centers = [
        posed_scene(path, SIZE, 0, None, 24.0, name).rig.center_depth for name in get_args(Center)
    ]
    assert centers == pytest.approx([1, 3.025, 3.0], abs=0.008)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_start_and_a_short_video(tmp_path: Path, kind: str) -> None:
    """Frames counted from the wrong end, or a short video that is refused."""
    scene = posed_scene(WRITERS[kind](tmp_path), SIZE, 6, None, 24.0, "known")
    index = torch.tensor([6, 7, 8, 8, 8, 8, 8, 8, 8])
    torch.testing.assert_close(scene.rig.w2c, tiny_video.cameras().w2c[index], atol=1e-5, rtol=0)
    assert scene.sources.image[0].mean() < scene.sources.image[2].mean()
    assert (scene.sources.image[2] == scene.sources.image[8]).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_backwards_is_everything_backwards(tmp_path: Path, kind: str) -> None:
    """One part of a scene that keeps its direction when the others turn."""
    scene = posed_scene(WRITERS[kind](tmp_path), SIZE, 0, None, 24.0, "known")
    turned = scene.backwards()
    for name in ("image", "depth", "intrinsics", "w2c", "mask"):
        before, after = getattr(scene.sources, name), getattr(turned.sources, name)
        assert (before.flip(0) == after).all()
    assert (turned.first_frame == scene.sources.image[-1]).all()
    assert (turned.rig.w2c == scene.rig.w2c.flip(0)).all()


@pytest.mark.parametrize("mode", ["crop", "stretch"])
def test_vipe_results_of_another_size(tmp_path: Path, mode: FitMode) -> None:
    """A portrait video whose pixels are stretched by default, or a lens left behind."""
    size = SceneSize(48, 32, FRAMES, mode)
    scene = posed_scene(tiny_video.write_vipe(tmp_path), size, 0, None, 24.0, "known")
    assert scene.sources.image.shape == (FRAMES, 3, 48, 32)
    fx, fy, cx, cy = scene.rig.intrinsics[0]
    assert (cx.item(), cy.item()) == pytest.approx((16, 24), abs=0.6)
    assert (fx / fy).item() == pytest.approx(1 if mode == "crop" else 32 / 48 / (49 / 32), rel=0.05)


def test_a_plain_video_has_a_still_camera(tmp_path: Path) -> None:
    """A frame rate or a number of frames that is lost on the way from a plain video."""
    path = tiny_video.write_plain(tmp_path / "a.mp4", count=5)
    z = np.linspace(2, 4, 5 * HEIGHT * WIDTH).reshape(5, HEIGHT, WIDTH)
    np.savez(tmp_path / "z.npz", depth=z)
    backend = resolve_video_depth(str(tmp_path / "z.npz"))
    assert video_kind(path) == "video"
    scene = filmed_scene(path, backend, SIZE, 0, None)
    assert scene.moving and scene.fps == 12 and len(scene.sources) == FRAMES
    assert (scene.rig.w2c == torch.eye(4)).all() and scene.rig.center_depth == 1
    assert scene.sources.depth[0].median() == pytest.approx(1, abs=1e-3)
    assert scene.record["depth_divisor"] == pytest.approx(2.2, abs=0.1)


@pytest.mark.parametrize("kind", ["tensors", "folder"])
def test_input_of_another_size_is_refused_where_it_is_not_resized(
    tmp_path: Path, kind: str
) -> None:
    """Pictures of another size that fail in the tokenizer, or are shifted against their lens."""
    with pytest.raises(InputError, match="32x48"):
        posed_scene(WRITERS[kind](tmp_path), SceneSize(48, 64, 9), 0, None, 24.0, "known")


def test_a_vipe_folder_with_missing_frames(tmp_path: Path) -> None:
    """A clip made with the poses of other frames."""
    video = tiny_video.write_vipe(tmp_path)
    pose = tmp_path / "pose" / "clip.npz"
    with np.load(pose) as table:
        kept = {name: table[name][:-2] for name in ("data", "inds")}
    np.savez(pose, **kept)
    with pytest.raises(InputError, match="pose/clip.npz"):
        posed_scene(video, SIZE, 0, None, 24.0, "known")
    (tmp_path / "depth" / "clip.zip").unlink()
    with pytest.raises(InputError):
        posed_scene(video, SIZE, 0, None, 24.0, "known")


def test_tensors_of_other_kinds_are_refused(tmp_path: Path) -> None:
    """A pickle that is executed, or a tuple in another order."""
    path = tiny_video.write_tensors(tmp_path / "X.pt")
    parts = torch.load(path, weights_only=True)
    bad = {
        "order.pt": (parts[1], parts[0], *parts[2:]),
        "four.pt": parts[:4],
        "dict.pt": {"image": parts[0]},
        "poses.pt": (*parts[:3], 2 * parts[3], parts[4]),
        "nan.pt": (parts[0] * float("nan"), *parts[1:]),
        "code.pt": (Path("a"), *parts[1:]),
        "empty.pt": (parts[0], 0 * parts[1], *parts[2:]),
    }
    for name, value in bad.items():
        torch.save(value, tmp_path / name)
        with pytest.raises(InputError, match=name):
            read_posed_tensors(tmp_path / name, 24.0)
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut\.pt"):
        read_posed_tensors(tmp_path / "cut.pt", 24.0)


@pytest.mark.parametrize("name", ["rgb.mp4", "depth.npz", "mask.npz", "camera.npz"])
def test_folders_name_what_is_wrong_in_them(tmp_path: Path, name: str) -> None:
    """A missing mask taken for an empty one, or an error without a file."""
    folder = tiny_video.write_folder(tmp_path / "scene")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        read_posed_folder(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        read_posed_folder(folder)


def _posed(path: Path, **changes: object) -> Path:
    """An `X.pt` with some of its five parts changed by functions."""
    tiny_video.write_tensors(path)
    names = ("image", "depth", "mask", "w2c", "K")
    parts = dict(zip(names, torch.load(path, weights_only=True), strict=True))
    for name, change in changes.items():
        assert callable(change)
        parts[name] = change(parts[name].clone())
    torch.save(tuple(parts.values()), path)
    return path


def _set(index: tuple[object, ...], value: float) -> object:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor[index] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": lambda t: t[0, 0, 0, 0]}, "shapes"),
        ({"image": lambda t: t.to(torch.complex64)}, "complex"),
        ({"image": lambda t: t * 255}, r"in \[-1, 1\]"),
        ({"image": lambda t: torch.zeros(1, 1, 1, 1).expand_as(t)}, "in a storage of 1 numbers"),
        ({"depth": lambda t: t.to_sparse()}, "sparse"),
        ({"mask": _set((0, 0, 0, 0), torch.nan)}, "not finite"),
        ({"w2c": _set((0, 0, 3), 1e30)}, "far from any scene"),
        ({"w2c": _set((0, 0, 0), 2.0)}, "rigid"),
        ({"K": _set((0, 0, 0), -40.0)}, "positive focal"),
        ({"K": _set((0, 0, 1), 3.0)}, "skew"),
        ({"K": lambda t: t / torch.tensor([[48.0], [32.0], [1.0]])}, "shares"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    """Tracebacks of shapes, and numbers that no video has taken for one."""
    path = _posed(tmp_path / "a.pt", **changes)
    with pytest.raises(InputError, match=f"a.pt: got .*({words})"):
        read_posed_tensors(path, 24.0)


def test_damage_in_tensors_is_found(tmp_path: Path) -> None:
    """A flipped bit that the checksum of the archive would show."""
    path = tiny_video.write_tensors(tmp_path / "a.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.pt: got unreadable .*CRC"):
        read_posed_tensors(path, 24.0)
