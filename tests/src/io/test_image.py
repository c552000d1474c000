"""Pictures of every kind become upright 8-bit RGB, broken ones an input error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.io.image import SUFFIXES, find_images, read_image
from src.runtime import InputError


def picture(height: int = 12, width: int = 20) -> np.ndarray:
    """Smooth colours that differ in all four corners, so that JPEG keeps them."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    return (np.stack([x, y, 1 - x], axis=-1) * 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".JPEG", ".webp", ".WebP"])
def test_every_format_in_any_case(tmp_path: Path, suffix: str) -> None:
    """Catches a suffix that is looked up in lower case only, and swapped channels or axes."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture()).save(path, quality=95)
    image = read_image(path)
    assert image.shape == (12, 20, 3) and image.dtype == torch.uint8
    assert np.abs(image.numpy().astype(int) - picture()).max() <= (0 if "p" in suffix[1:2] else 60)
    assert np.abs(image.numpy().astype(int) - picture()).mean() < 6
    assert find_images(tmp_path) == [path]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Catches telephone pictures that lie on their side."""
    upright = picture()
    # What a camera stores, so that the tag's transformation makes it upright again.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(read_image(path).numpy(), upright)


def test_transparency_shows_white(tmp_path: Path) -> None:
    """Catches dropped alpha, a black ground, and rounding in the place of truncation."""
    rgba = np.zeros((1, 4, 4), dtype=np.uint8)
    rgba[0, :, :3] = (200, 100, 7)
    rgba[0, :, 3] = (255, 128, 1, 0)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "a.png")
    alpha = rgba[..., 3:].astype(int)
    exact = (rgba[..., :3] * alpha + 255 * (255 - alpha)) / 255
    assert np.array_equal(read_image(tmp_path / "a.png").numpy(), np.floor(exact))
    grey = Image.fromarray(rgba, "RGBA").convert("LA")
    grey.save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[0, 3].tolist() == [255] * 3


def test_palette_pictures_with_and_without_transparency(tmp_path: Path) -> None:
    """Catches palette indices that are read as grey values, and a lost transparent index."""
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    palette.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    palette.save(tmp_path / "b.png", transparency=1)
    assert read_image(tmp_path / "b.png")[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_grey_sixteen_bit_one_bit_and_cmyk(tmp_path: Path) -> None:
    """Catches 16-bit values that are clipped to white, and CMYK that comes out inverted."""
    deep = np.array([[0, 128, 256, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 255]
    Image.fromarray(np.array([[3, 250]], dtype=np.uint8)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png")[0].tolist() == [[3] * 3, [250] * 3]
    Image.new("1", (2, 1), 1).save(tmp_path / "bit.png")
    assert (read_image(tmp_path / "bit.png") == 255).all()
    Image.new("RGB", (16, 16), (250, 40, 40)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    mean = read_image(tmp_path / "cmyk.jpg").float().mean(dim=(0, 1))
    assert torch.allclose(mean, torch.tensor([250.0, 40.0, 40.0]), atol=6)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    """Catches a later frame, or a failure, where a picture moves."""
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert read_image(tmp_path / "a.webp")[0, 0].tolist() == [255, 0, 0]


def test_broken_files_are_input_errors(tmp_path: Path) -> None:
    """Catches a half-grey picture from a truncated file, and errors without the file's name."""
    Image.fromarray(picture(200, 300)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    Image.fromarray(picture(200, 300)).save(tmp_path / "whole.png")
    deep = (tmp_path / "whole.png").read_bytes()
    cases = {
        "empty.png": b"",
        "text.jpg": b"not a picture",
        "head.jpg": content[:20],
        "half.jpg": content[: len(content) // 2],
        "half.png": deep[: len(deep) // 2],
        "noise.png": deep[:60] + bytes(100) + deep[160:],
    }
    for name, broken in cases.items():
        (tmp_path / name).write_bytes(broken)
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
    for missing in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            read_image(missing)
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(InputError, match="floating-point"):
        read_image(tmp_path / "float.tiff")


def test_a_bomb_is_refused_and_an_8k_picture_is_read(tmp_path: Path) -> None:
    """Catches a limit that keeps out honest pictures, or none at all."""
    Image.new("L", (8192, 4320), 7).save(tmp_path / "8k.png")
    assert read_image(tmp_path / "8k.png").shape == (4320, 8192, 3)
    # One bit a pixel: 225 million pixels in 30 kB.
    Image.new("1", (15000, 15000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="bomb.png"):
        read_image(tmp_path / "bomb.png")


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    """Catches an empty list, after which a command would do nothing and succeed."""
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.png").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "none")
    for name in ("b.JPG", "a.webp", "c.jpeg"):
        (tmp_path / name).write_text("")
    assert [path.name for path in find_images(tmp_path)] == ["a.webp", "b.JPG", "c.jpeg"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_taken_from_a_folder_is_read(tmp_path: Path, suffix: str) -> None:
    """A suffix that `find_images` takes and `read_image` cannot read."""
    path = tmp_path / f"picture{suffix}"
    Image.new("RGB", (16, 8), (200, 100, 50)).save(path)
    assert find_images(tmp_path) == [path]
    colour = read_image(path).float().mean(dim=(0, 1))
    assert (colour - torch.tensor([200.0, 100.0, 50.0])).abs().max() < 4
