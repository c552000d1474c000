import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_video import write_vipe

from src.depth.backends.vipe import PosedDepthVideo, ResizeCrop, read_vipe
from src.io.depth_file import write_depth_archive
from src.io.video.video import read_video, write_video
from src.runtime import InputError

FRAMES, HEIGHT, WIDTH = 6, 36, 64
SAME = ResizeCrop((HEIGHT, WIDTH), (HEIGHT, WIDTH))


def write_masks(path: Path, masks: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for index, mask in enumerate(masks):
            content = io.BytesIO()
            Image.fromarray(mask).save(content, "PNG")
            archive.writestr(f"{index:05d}.png", content.getvalue())


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result folder of two clips; `b` comes second in the alphabet and has no files but rgb."""
    level = torch.arange(FRAMES)[:, None, None, None] * 30
    columns = torch.arange(WIDTH)[:, None] * 2
    frames = (level + columns + torch.zeros(HEIGHT, WIDTH, 3)).clamp(max=255).to(torch.uint8)
    write_video(tmp_path / "rgb" / "a.mp4", frames, fps=12)
    write_video(tmp_path / "rgb" / "b.mp4", frames[:1], fps=12)
    depth = 1.0 + level[..., 0].expand(-1, HEIGHT, WIDTH)
    write_depth_archive(tmp_path / "depth" / "a.zip", depth)
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    masks[:, :, : WIDTH // 2] = 3
    write_masks(tmp_path / "mask" / "a.zip", masks)
    c2w = np.tile(np.eye(4), (FRAMES, 1, 1))
    c2w[:, 2, 3] = np.arange(FRAMES)
    inds = np.arange(FRAMES)
    for name, data in (("pose", c2w), ("intrinsics", np.tile([50.0, 60, 32, 18], (FRAMES, 1)))):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "a.npz", data=data, inds=inds)
    return tmp_path


def frame_numbers(video: PosedDepthVideo) -> tuple[list[int], list[int]]:
    """Which source frames a result shows, by its depth and by its poses."""
    by_depth = ((video.depth[:, 0, 0, 0] - 1) / 30).round().int().tolist()
    return by_depth, (-video.w2c[:, 2, 3]).round().int().tolist()


def test_the_reference_result_is_equal(shared: Path) -> None:
    """Another resampling, cut, scaling of K or repetition than the published loader has."""
    folder = shared / "fixtures" / "sdg_vipe"
    expected = load_file(folder / "tensors.safetensors")
    calls = json.loads((folder / "fixture.json").read_text())["config"]["calls"]
    for index, call in enumerate(calls):
        size = ResizeCrop(tuple(call["resize_hw"]), tuple(call["crop_hw"]))
        video = read_vipe(
            folder / call["path"],
            call["starting_frame"],
            call["num_frames"],
            size,
            call["read_mask"],
        )
        for name in ("image", "depth", "mask", "w2c", "K"):
            reference = expected[f"outputs/{name}_{index}"]
            torch.testing.assert_close(getattr(video, name), reference, rtol=1e-5, atol=1e-6)


def test_frames_of_equal_size_pass_unchanged(result: Path) -> None:
    """A shift by half a pixel, another value range, K in other pixels."""
    video = read_vipe(result, num_frames=FRAMES, size=SAME)
    pictures = read_video(result / "rgb" / "a.mp4").permute(0, 3, 1, 2)
    torch.testing.assert_close(video.image, pictures / 127.5 - 1, rtol=0, atol=1e-6)
    assert frame_numbers(video) == (list(range(FRAMES)),) * 2
    assert video.K[3].tolist() == [[50, 0, 32], [0, 60, 18], [0, 0, 1]]
    assert video.fps == 12 and len(video) == FRAMES
    assert torch.equal(video.mask, torch.ones(FRAMES, 1, HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [(0, 3, [0, 1, 2]), (4, 4, [4, 5, 5, 5]), (5, 2, [5, 5]), (99, 3, [5, 5, 5])],
)
def test_the_last_frame_is_repeated(
    result: Path, start: int, count: int, expected: list[int]
) -> None:
    """Frames from the front, too few frames, or an error where the clip is too short."""
    video = read_vipe(result / "rgb" / "a.mp4", start, count, SAME)
    assert frame_numbers(video) == (expected, expected)
    assert video.image.shape == (count, 3, HEIGHT, WIDTH)


def test_other_shapes_are_stretched_and_cut(result: Path) -> None:
    """Pictures and K that do not move together: a ray through the same content must agree."""
    size = ResizeCrop((80, 96), (64, 90))
    video = read_vipe(result, num_frames=1, size=size)
    assert video.image.shape == (1, 3, 64, 90)
    # Content at column c of the source lies at 1.5 c - 3: the red ramp tells the column.
    column = torch.arange(10, 80)
    source = (column + 0.5 + 3) / 1.5
    red = (video.image[0, 0, 30, 10:80] + 1) * 127.5
    assert (red - 2 * (source - 0.5)).abs().mean() < 3
    K = video.K[0]
    torch.testing.assert_close((column + 0.5 - K[0, 2]) / K[0, 0], (source - 32) / 50)
    torch.testing.assert_close(K[1, 1:], torch.tensor([60 * 80 / 36, 18 * 80 / 36 - 8]))


def test_the_default_size_is_the_published_one(result: Path) -> None:
    """Another default size or length than the full-size generator takes."""
    video = read_vipe(result, start=4, num_frames=2)
    assert video.image.shape == (2, 3, 704, 1280)
    assert video.K[1].tolist() == [[1000, 0, 640], [0, 1200, 352], [0, 0, 1]]
    assert frame_numbers(video) == ([4, 5], [4, 5])


def test_masks_are_read_on_request(result: Path) -> None:
    """Values other than 0 and 1, smoothed edges."""
    video = read_vipe(result, num_frames=2, size=ResizeCrop((72, 128), (72, 120)), read_mask=True)
    assert video.mask.unique().tolist() == [0, 1]
    assert torch.equal(video.mask[0, 0, 5], (torch.arange(120) < 60).float())
    colored = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    colored[..., 1] = 9
    write_masks(result / "mask" / "a.zip", colored)
    assert read_vipe(result, num_frames=2, size=SAME, read_mask=True).mask.min() == 1


def test_frames_missing_in_a_file_are_named(result: Path) -> None:
    """A neighbour's camera or depth for a frame that ViPE did not solve."""
    for name in ("pose", "intrinsics"):
        path = result / name / "a.npz"
        with np.load(path) as archive:
            data, inds = archive["data"], archive["inds"]
        np.savez(path, data=data[[0, 1, 3]], inds=inds[[0, 1, 3]])
        assert len(read_vipe(result, 0, 2, SAME)) == 2
        with pytest.raises(InputError, match=rf"{name}/a\.npz: got no row for frame 2"):
            read_vipe(result, 1, 3, SAME)
        np.savez(path, data=data, inds=inds)
    write_depth_archive(result / "depth" / "a.zip", torch.ones(4, HEIGHT, WIDTH))
    with pytest.raises(InputError, match=r"depth/a\.zip: got no member 00004\.exr"):
        read_vipe(result, 0, 5, SAME)
    write_masks(result / "mask" / "a.zip", np.ones((2, HEIGHT, WIDTH), np.uint8))
    with pytest.raises(InputError, match=r"mask/a\.zip: got no member 00002\.png"):
        read_vipe(result, 0, 4, SAME, read_mask=True)


def test_broken_results_are_refused(result: Path, tmp_path: Path) -> None:
    """Missing folders, clips without their files, videos elsewhere, masks that are none."""
    for path, message in (
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "rgb", r"no rgb/\*\.mp4"),
        (tmp_path / "rgb" / "b.mp4", "pose/b.npz: got no such file"),
        (tmp_path / "depth" / "a.zip", "a video in depth/"),
    ):
        with pytest.raises(InputError, match=message):
            read_vipe(path, size=SAME)
    with pytest.raises(InputError, match="start -1"):
        read_vipe(result, start=-1, size=SAME)
    with pytest.raises(InputError, match="crop: got"):
        ResizeCrop((10, 10), (12, 10))
    with zipfile.ZipFile(result / "mask" / "a.zip", "w") as archive:
        archive.writestr("00000.png", b"\x89PNG text")
    with pytest.raises(InputError, match="an unreadable mask for frame 0"):
        read_vipe(result, 0, 1, SAME, read_mask=True)
    (result / "depth" / "a.zip").unlink()
    with pytest.raises(InputError, match=r"depth/a\.zip: got no such file"):
        read_vipe(result, size=SAME)


@pytest.mark.parametrize("kind", ["MEI", "PANORAMA"])
def test_other_cameras_than_pinholes_are_refused(tmp_path: Path, kind: str) -> None:
    """A wide-angle or panorama result read as if straight lines stayed straight."""
    video = write_vipe(tmp_path)
    kinds = tmp_path / "intrinsics" / "clip_camera.txt"
    kinds.write_text("0: PINHOLE\n1: PINHOLE\n")
    size = SAME
    assert len(read_vipe(video, num_frames=2, size=size)) == 2
    kinds.write_text(f"0: {kind}\n1: {kind}\n")
    with pytest.raises(InputError, match=f"clip_camera.txt: got cameras of the kind {kind}"):
        read_vipe(video, num_frames=2, size=size)
    kinds.unlink()
    numbers = np.tile(np.array([40.0, 40, 16, 12, 0.9], dtype=np.float32), (9, 1))
    np.savez(tmp_path / "intrinsics" / "clip.npz", data=numbers, inds=np.arange(9))
    with pytest.raises(InputError, match="5 numbers a frame: a wide-angle or panorama camera"):
        read_vipe(video, num_frames=2, size=size)


def test_lenses_in_shares_are_refused(tmp_path: Path) -> None:
    """A lens of one pixel, with which the camera stands still."""
    video = write_vipe(tmp_path)
    lens = np.tile(np.array([1.07, 1.9, 0.5, 0.5], dtype=np.float32), (9, 1))
    np.savez(tmp_path / "intrinsics" / "clip.npz", data=lens, inds=np.arange(9))
    with pytest.raises(InputError, match=r"clip.npz: got .*these look like shares"):
        read_vipe(video, num_frames=2, size=SAME)
