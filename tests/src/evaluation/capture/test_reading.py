"""Captures of every format, and what is wrong with bad ones."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus.generated import colmap

from src.evaluation.capture.reading import Capture, read_capture
from src.evaluation.capture.scale import InputView, align_scale
from src.geometry.cameras import invert_rigid, matrix_to_quaternion, quaternion_to_matrix
from src.io.image import write_png
from src.runtime import InputError

WIDTH, HEIGHT, COUNT = 64, 48, 3
LENS = (50.0, 51.0, 30.0, 20.0)
NAMES = ("1000.png", "2000.png", "10000.png")
W2C = torch.eye(4, dtype=torch.float64).repeat(COUNT, 1, 1)
W2C[:, :3, :3] = quaternion_to_matrix(
    torch.tensor([[1, 0, 0, 0], [1, 0.1, 0, 0.2], [1, -0.1, 0.3, 0]], dtype=torch.float64)
)
W2C[:, :3, 3] = torch.tensor([[0.5, 0, 0], [1, 2, 3], [0, -1, 0.25]], dtype=torch.float64)
# Numbers and places of points, and the pictures that see them.
POINTS = [(n + 1, (0.02 * n - 1, 0.01 * n, 4.0), (1, 3)) for n in range(40)]
POINTS += [(n + 100, (0.0, 0.0, 90.0), (2,)) for n in range(90)]


def write_pictures(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        picture = torch.full((HEIGHT, WIDTH, 3), 20 * number, dtype=torch.uint8)
        write_png(folder / name, picture)


def desk(folder: Path) -> Path:
    write_pictures(folder / "images")
    lens = dict(zip(("fx", "fy", "cx", "cy"), LENS, strict=True))
    frames = [
        {"image": f"images/{name}", "w2c": pose.tolist(), **lens, "width": WIDTH, "height": HEIGHT}
        for name, pose in zip(NAMES, W2C, strict=True)
    ]
    (folder / "cameras.json").write_text(json.dumps({"convention": "OpenCV", "frames": frames}))
    return folder


def schema(folder: Path) -> Path:
    write_pictures(folder)
    frames = [
        {"image": name, "c2w": pose.tolist(), "intrinsics": LENS}
        for name, pose in zip(NAMES, invert_rigid(W2C), strict=True)
    ]
    head = {"width": WIDTH, "height": HEIGHT, "fps": 24}
    (folder / "any.json").write_text(json.dumps({**head, "frames": frames}))
    return folder / "any.json"


def nerfstudio(folder: Path) -> Path:
    write_pictures(folder / "images")
    c2w = invert_rigid(W2C)
    c2w[:, :3, 1:3] *= -1
    # Out of order, and without suffix as Blender's scripts write it.
    frames = [
        {"file_path": f"./images/{Path(name).stem}", "transform_matrix": pose.tolist()}
        for name, pose in reversed(list(zip(NAMES, c2w, strict=True)))
    ]
    lens = dict(zip(("fl_x", "fl_y", "cx", "cy"), LENS, strict=True))
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


def write_points(model: Path, binary: bool) -> None:
    if binary:
        rows = [
            struct.pack(f"<Q3d3BdQ{2 * len(seen)}I", number, *place, 9, 9, 9, 0.5, len(seen),
                        *(word for image in seen for word in (image, 0)))
            for number, place, seen in POINTS
        ]  # fmt: skip
        (model / "points3D.bin").write_bytes(struct.pack("<Q", len(rows)) + b"".join(rows))
        return
    lines = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for number, place, seen in POINTS:
        track = [word for image in seen for word in (image, 7)]
        lines.append(" ".join(map(str, (number, *place, 9, 9, 9, 0.5, *track))))
    (model / "points3D.txt").write_text("\n".join(lines) + "\n")


def colmap_capture(folder: Path, binary: bool = True) -> Path:
    write_pictures(folder / "images")
    (folder / "sparse").mkdir()
    poses = torch.cat([matrix_to_quaternion(W2C[:, :3, :3]), W2C[:, :3, 3]], dim=1).tolist()
    images = [(n + 1, tuple(poses[n]), 5, NAMES[n], 1) for n in range(COUNT)]
    model = folder / "sparse/0"
    colmap(binary, cameras=[(5, 1, WIDTH, HEIGHT, LENS)], images=images)(model)
    write_points(model, binary)
    return folder


def colmap_text(folder: Path) -> Path:
    return colmap_capture(folder, binary=False)


def realestate(folder: Path) -> Path:
    write_pictures(folder / "clip")
    sides = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    shares = [value / side for value, side in zip(LENS, sides, strict=True)]
    lines = ["https://www.example.org/watch?v=clip"]
    for name, pose in zip(NAMES, W2C, strict=True):
        numbers = [*shares, 0, 0, *pose[:3].flatten().tolist()]
        lines.append(" ".join(map(str, (Path(name).stem, *numbers))))
    (folder / "clip.txt").write_text("\n".join(lines) + "\n")
    return folder / "clip.txt"


FORMATS = (desk, schema, nerfstudio, colmap_capture, colmap_text, realestate)


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_is_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    """Would catch other axes or units, lenses in shares, pictures paired with wrong cameras."""
    capture = read_capture(write(tmp_path / "place"))
    stems = [Path(name).stem for name in capture.names]
    assert stems == [Path(name).stem for name in NAMES]
    torch.testing.assert_close(capture.cameras.w2c.double(), W2C, rtol=1e-5, atol=1e-5)
    expected = torch.tensor(LENS).expand(COUNT, 4)
    torch.testing.assert_close(capture.cameras.intrinsics.float(), expected)
    assert capture.name == ("clip" if write is realestate else "place")
    for index, path in enumerate(capture.pictures):
        assert path.is_file()
        assert capture.picture(index, (HEIGHT, WIDTH)).unique().tolist() == pytest.approx(
            [20 * index / 255]
        )
    assert [capture.index(stem) for stem in stems] == [0, 1, 2]
    assert capture.index("1") == 1
    with pytest.raises(InputError, match="no picture 'hall'"):
        capture.index("hall")
    with pytest.raises(InputError, match="no picture '7'"):
        capture.index("7")


def test_cameras_are_placed_around_the_input_and_cropped(tmp_path: Path) -> None:
    """Would catch the first picture as the origin, and lenses of uncropped pictures."""
    placed = read_capture(desk(tmp_path)).placed(1, (24, 48))
    torch.testing.assert_close(placed.c2w[1], torch.eye(4), rtol=0, atol=1e-6)
    relative = W2C[1] @ torch.linalg.inv(W2C[0])
    torch.testing.assert_close(placed.c2w[0], relative.float(), rtol=0, atol=1e-5)
    # 64 x 48 becomes 48 x 36, of which six rows above and below are cut.
    torch.testing.assert_close(placed.intrinsics[0], torch.tensor([37.5, 38.25, 22.5, 9.0]))
    assert (placed.height, placed.width) == (24, 48)


@pytest.mark.parametrize("binary", [True, False])
def test_points_of_colmap_decide_the_factor(tmp_path: Path, binary: bool) -> None:
    """Would catch points that the input does not see, world axes taken for the camera's."""
    capture = read_capture(colmap_capture(tmp_path / "place", binary))
    assert len(capture.points(0)) == 40 and len(capture.points(1)) == 90
    view = InputView(
        image=torch.zeros(3, HEIGHT, WIDTH),
        depth=torch.full((HEIGHT, WIDTH), 1.0),
        known=torch.ones(HEIGHT, WIDTH, dtype=torch.bool),
        intrinsics=torch.tensor(LENS),
        divisor=1.0,
    )
    placed = capture.placed(0, (HEIGHT, WIDTH))[1:]
    found = align_scale(capture, 0, view, placed, targets=torch.zeros(2, 3, HEIGHT, WIDTH))
    assert found.value == pytest.approx(1 / 4) and "COLMAP" in found.method


def test_depth_of_a_frame_is_named(tmp_path: Path) -> None:
    """Would catch a depth map that is dropped, or given to another frame."""
    path = desk(tmp_path) / "cameras.json"
    values = json.loads(path.read_text())
    values["frames"][1]["depth"] = "depth.npy"
    path.write_text(json.dumps(values))
    np.save(tmp_path / "depth.npy", np.ones((HEIGHT, WIDTH), np.float32))
    assert read_capture(tmp_path).depth == (None, tmp_path / "depth.npy", None)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "cameras.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def lengthen(folder: Path) -> None:
    path = folder / "images" / NAMES[1]
    write_png(path, torch.zeros(HEIGHT, WIDTH + 1, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "cameras.json").unlink(), "no capture"),
        (lambda folder: (folder / "images" / NAMES[1]).unlink(), "2000.png: got no such picture"),
        (lengthen, "48x65 pixels"),
        (lambda folder: edit(folder, lambda v: v.update(frames=[])), "no pictures"),
        (lambda folder: edit(folder, lambda v: v.update(frames=v["frames"][:1])), "1 pictures"),
        (lambda folder: edit(folder, lambda v: v["frames"][1].pop("image")), "without `image`"),
        (lambda folder: edit(folder, lambda v: v["frames"][1].pop("w2c")), "frame 1 without w2c"),
        (lambda folder: edit(folder, lambda v: v["frames"][1].pop("fx")), "frame 1 without fx"),
        (lambda folder: edit(folder, lambda v: v["frames"][1].update(width=9)), "of the sizes"),
        (lambda folder: edit(folder, lambda v: v["frames"].append(v["frames"][0])), "two frames"),
    ],
)
def test_bad_captures(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    """Would catch a traceback, or a capture of pictures that its cameras did not take."""
    damage(desk(tmp_path))
    with pytest.raises(InputError) as caught:
        read_capture(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("write", "damage", "words"),
    [
        (colmap_capture, lambda f: (f / "images").rename(f / "photos"), "no folder `images`"),
        (realestate, lambda f: (f / "clip" / NAMES[2]).unlink(), "10000: got no such picture"),
        (realestate, lambda f: (f / "clip.txt").write_text("https://x.org\n"), "no pictures"),
        (realestate, lambda f: (f / "clip.txt").write_text("https://x.org\n1 2\n"), "line 2"),
        (realestate, lambda f: (f / "clip.txt").write_text("https://x.org\n1 a\n"), "line 2"),
    ],
)
def test_bad_files_of_other_programs(
    tmp_path: Path, write: Callable[[Path], Path], damage: Callable[[Path], object], words: str
) -> None:
    """Would catch a line or a picture that is skipped."""
    path = write(tmp_path / "place")
    damage(tmp_path / "place")
    with pytest.raises(InputError) as caught:
        read_capture(path)
    assert words in str(caught.value)


def test_digests_tell_captures_apart(tmp_path: Path) -> None:
    """Would catch a digest without the pixels, the cameras or the choice of frames."""

    def read() -> Capture:
        return read_capture(tmp_path)

    desk(tmp_path)
    found = [read().digest([0, 1]), read().digest([0, 2])]
    edit(tmp_path, lambda values: values["frames"][1].update(fx=49.0))
    found.append(read().digest([0, 1]))
    write_png(tmp_path / "images" / NAMES[0], torch.ones(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    found.append(read().digest([0, 1]))
    assert len(set(found)) == 4
