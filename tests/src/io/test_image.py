"""Pictures of every kind become upright 8-bit RGB, broken ones an input error."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.io.image import find_images, find_videos, read_image
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
    (tmp_path / "link.png").symlink_to("none.png")
    for name, words in (("none.png", "no such"), (".", "a folder"), ("link.png", "a link to no")):
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / name)
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
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "none")
    for name in ("b.JPG", "a.webp", "c.jpeg"):
        (tmp_path / name).write_text("")
    assert [path.name for path in find_images(tmp_path)] == ["a.webp", "b.JPG", "c.jpeg"]


def test_what_is_called_a_picture_and_is_none_is_found(tmp_path: Path) -> None:
    """Catches inputs of a folder that become nothing without a word: whoever opens them tells."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.mp4").mkdir()
    for name in ("link.jpg", "link.mp4"):
        (tmp_path / name).symlink_to("nowhere")
    assert [path.name for path in find_images(tmp_path)] == ["folder.png", "link.jpg"]
    assert [path.name for path in find_videos(tmp_path)] == ["folder.mp4", "link.mp4"]


@pytest.mark.parametrize("suffix", [".avif", ".tif", ".tiff", ".bmp"])
def test_other_formats_of_a_folder(tmp_path: Path, suffix: str) -> None:
    """Pictures left out without a word because of their suffix."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture()).save(path)
    assert find_images(tmp_path) == [path]
    assert np.abs(read_image(path).numpy().astype(int) - picture()).mean() < 12


def test_what_a_folder_leaves_out_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A telephone's pictures that are not made into scenes, and nobody says why."""
    monkeypatch.setattr("src.io.image.can_read_heic", lambda: False)
    (tmp_path / "x.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(InputError, match="1 HEIC pictures, expected the extra `heic`: .* pip"):
        find_images(tmp_path)
    with pytest.raises(InputError, match=r"x.HEIC: got a HEIC picture, expected .*pip install"):
        read_image(tmp_path / "x.HEIC")
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for name in ("notes.txt", "film.mp4", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    with caplog.at_level("WARNING"):
        assert find_images(tmp_path) == [tmp_path / "a.png"]
    text = caplog.text
    assert "pip install pillow-heif): x.HEIC" in text and "(videos): film.mp4" in text
    assert "(no pictures): notes.txt" in text and "hidden" not in text
    assert find_videos(tmp_path) == [tmp_path / "film.mp4"]
    (tmp_path / "film.mp4").unlink()
    with pytest.raises(InputError, match="no videos, expected files that end with .mp4"):
        find_videos(tmp_path)


def test_heic_pictures_are_read(tmp_path: Path) -> None:
    """A telephone's picture refused although the extra is there."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = tmp_path / "a.heic"
    Image.fromarray(picture(64, 96)).save(path, quality=95)
    assert find_images(tmp_path) == [path]
    assert np.abs(read_image(path).numpy().astype(int) - picture(64, 96)).mean() < 6


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_large_pictures_are_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """200-megapixel telephones refused, or decoded at full size into gigabytes."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(480, 640)).save(path)
    monkeypatch.setattr("src.io.image.KEPT_PIXELS", 100_000)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    image = read_image(path)
    assert image.shape == (240, 320, 3)
    expected = np.asarray(Image.fromarray(picture(480, 640)).reduce(2)).astype(int)
    assert np.abs(image.numpy().astype(int) - expected).mean() < 3
    monkeypatch.setattr("src.io.image.MOST_PIXELS", 300_000)
    with pytest.raises(InputError, match=r"got 640x480 pixels, expected at most 0 megapixels"):
        read_image(path)


@pytest.mark.slow
def test_a_picture_of_200_megapixels(tmp_path: Path) -> None:
    """Pillow's own limit, which is 179 megapixels."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16_320, 12_240), (200, 100, 50)).save(path)
    image = read_image(path)
    assert image.shape == (6120, 8160, 3) or image.shape[0] * image.shape[1] <= 50_000_000
    assert (image[::999, ::999].int() - torch.tensor([200, 100, 50])).abs().max() <= 3


def wide_profile(gamma: float, primaries: tuple[tuple[float, float], ...]) -> bytes:
    """An ICC profile of a display with these primaries (adapted to D50) and gamma."""
    import struct

    def tag(kind: bytes, data: bytes) -> bytes:
        return kind + bytes(4) + data + bytes(-len(data) % 4)

    def fixed(values: list[float]) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    name = b"Wide display"
    text = struct.pack(">I", len(name) + 1) + name + bytes(1 + 4 + 4 + 2 + 1 + 67)
    curve = tag(b"curv", struct.pack(">IH", 1, round(gamma * 256)))
    parts = {b"desc": tag(b"desc", text), b"wtpt": tag(b"XYZ ", fixed([0.9642, 1, 0.8249]))}
    parts |= {name: tag(b"XYZ ", fixed(list(xyz))) for name, xyz in primaries}  # pyright: ignore
    parts |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data, at = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for key, content in parts.items():
        table += key + struct.pack(">II", at + len(data), len(content))
        data += content
    size = at + len(data)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed([0.9642, 1, 0.8249])
    return head + bytes(128 - len(head)) + table + data


# Display P3 and Adobe RGB (1998) adapted to D50, as their public profiles have them.
P3 = (
    (b"rXYZ", (0.51512, 0.2412, -0.00105)),
    (b"gXYZ", (0.29198, 0.69225, 0.04189)),
    (b"bXYZ", (0.1571, 0.06657, 0.78407)),
)


ADOBE = (
    (b"rXYZ", (0.60974, 0.31111, 0.01947)),
    (b"gXYZ", (0.20528, 0.62567, 0.06087)),
    (b"bXYZ", (0.14919, 0.06322, 0.74457)),
)
# Gamma, primaries, and the matrix of linear light into that of BT.709.
WIDE = {
    "Display P3": (
        2.2,
        P3,
        [[1.2249, -0.2247, 0], [-0.042, 1.0419, 0], [-0.0197, -0.0786, 1.0979]],
    ),
    "Adobe RGB": (563 / 256, ADOBE, [[1.3984, -0.3984, 0], [0, 1, 0], [0, -0.0429, 1.0429]]),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_colour_profiles_are_applied(tmp_path: Path, suffix: str, name: str) -> None:
    """Pictures of telephones and cameras that look pale: their colours taken for sRGB."""
    gamma, primaries, matrix = WIDE[name]
    path, plain = tmp_path / f"a{suffix}", tmp_path / "plain.png"
    colour = Image.new("RGB", (32, 32), (180, 90, 60))
    colour.save(path, icc_profile=wide_profile(gamma, primaries), quality=95)
    found = read_image(path).float().mean(dim=(0, 1))
    # By the formula: linear light into BT.709, encoded as sRGB.
    light = (np.array([180, 90, 60]) / 255) ** gamma
    expected = 255 * (1.055 * (np.array(matrix) @ light) ** (1 / 2.4) - 0.055)
    assert np.abs(found.numpy() - expected).max() < 4
    assert abs(expected[0] - 180) > 8
    colour.save(plain)
    assert read_image(plain)[0, 0].tolist() == [180, 90, 60]


def test_a_damaged_profile_is_left_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A picture refused for its profile, which every viewer shows."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path, icc_profile=b"no profile" * 20)
    with caplog.at_level("WARNING"):
        assert read_image(path)[0, 0].tolist() == [1, 2, 3]
    assert "a.png: the colour profile is ignored" in caplog.text


def test_a_damaged_size_takes_no_memory(tmp_path: Path) -> None:
    """A gigabyte for the pixels that a small uncompressed file does not hold."""
    path = tmp_path / "a.tiff"
    Image.new("RGB", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    with Image.open(path) as whole:
        assert whole.info["compression"] == "raw"
    for tag in (256, 257):
        at = content.index(struct.pack("<HH", tag, 4))
        content[at + 8 : at + 12] = struct.pack("<I", 14_000)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tiff.* bytes for 14000x14000 pixels"):
        read_image(path)
