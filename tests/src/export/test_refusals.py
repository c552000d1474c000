"""Tests of what an export refuses: each message says what to do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from src.export.editing import EditConfig
from src.export.formats import export_scene
from src.io.ply import PROPERTIES, write_ply
from src.io.scene import read_scene
from src.runtime import InputError
from tests.src.export.comparing import READERS
from tests.src.export.scenes import scene_of, spread

REPOSITORY = Path(__file__).resolve().parents[3]
PLY = "ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n"


def splats(path: Path, rows: np.ndarray) -> Path:
    """A PLY of Gaussians with these values."""
    properties = "".join(f"property float {name}\n" for name in PROPERTIES)
    head = PLY.format(count=len(rows), properties=properties)
    path.write_bytes(head.encode() + rows.astype("<f4").tobytes())
    return path


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user calls it."""
    command = [sys.executable, "scripts/export.py", "scene", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_a_mesh_is_refused(tmp_path: Path) -> None:
    """Points without sizes, shown as nothing."""
    properties = "".join(f"property float {name}\n" for name in "xyz")
    path = tmp_path / "mesh.ply"
    path.write_bytes(PLY.format(count=1, properties=properties).encode() + bytes(12))
    with pytest.raises(InputError, match=r"without numbers called f_dc_0.*opacity, scale_0"):
        read_scene(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A traceback of the PLY reader."""
    path = tmp_path / "photo.ply"
    path.write_bytes(b"\x89PNG and so on")
    with pytest.raises(InputError, match="no PLY header"):
        read_scene(path)


def test_a_ply_without_gaussians_is_refused(tmp_path: Path) -> None:
    """A message about options that nobody gave, or an empty file."""
    with pytest.raises(InputError, match=r"empty.ply: got a PLY without Gaussians, expected a PLY"):
        read_scene(splats(tmp_path / "empty.ply", np.zeros((0, 14))))


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    """NaN in another program's file, where it hides the whole scene."""
    rows = np.ones((3, 14))
    rows[1, PROPERTIES.index("scale_1")] = np.nan
    with pytest.raises(InputError, match="non-finite values of scale_1, expected finite values"):
        read_scene(splats(tmp_path / "scene.ply", rows))


def test_a_path_without_a_scene_is_refused(tmp_path: Path) -> None:
    """An empty export of an empty folder."""
    with pytest.raises(InputError, match=r"no PLY in it, expected a PLY of Gaussians, a folder"):
        read_scene(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        read_scene(tmp_path / "nothing")


@pytest.mark.parametrize(("file", "name"), [("scene.stl", None), ("scene.ply", "stl")])
def test_unknown_formats_are_refused_with_the_known_ones(
    file: str, name: str | None, tmp_path: Path
) -> None:
    """A file of a format that nobody asked for."""
    known = ", ".join([*READERS][:5])
    with pytest.raises(InputError, match=rf"one of {known}.*colmap"):
        export_scene(scene_of(spread()), tmp_path / file, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "name"), [("scene.ply", "spz"), ("scene", "glb"), (".sog", "sog"), ("a.usd", "usdc")]
)
def test_a_name_with_another_suffix_is_refused(file: str, name: str, tmp_path: Path) -> None:
    """An .spz in a file called .ply, which readers choose by its name."""
    with pytest.raises(InputError, match=rf"another suffix, expected \.{name}, or another format"):
        export_scene(scene_of(spread()), tmp_path / file, name)


def test_a_format_refuses_axes_that_it_has_not(tmp_path: Path) -> None:
    """glTF with z up, which all readers show on its side."""
    with pytest.raises(InputError, match="up: got z for glb, expected one of y"):
        export_scene(scene_of(spread()), tmp_path / "a.glb", edit=EditConfig(up="z"))
    with pytest.raises(InputError, match="up: got -y for usdc, expected one of z, y"):
        export_scene(scene_of(spread()), tmp_path / "a.usdc", edit=EditConfig(up="-y"))


@pytest.mark.parametrize(
    ("file", "package", "extra"),
    [
        ("scene.spz", "gaussforge", "export"),
        ("scene.glb", "fourdgs", "export"),
        ("scene.4dgs", "fourdgs", "export"),
        ("scene.usdc", "pxr", "usd"),
        ("scene.usdz", "pxr", "usd"),
    ],
)
def test_a_missing_extra_is_named_with_the_line_that_installs_it(
    file: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback instead of a command."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as caught:
        export_scene(scene_of(spread()), tmp_path / file)
    assert f"{sys.executable} -m pip install 'open-lyra[{extra}]'" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["scene.ply", "scene.usda", "scene.4dgs", "scene.splat"])
def test_a_target_that_cannot_be_written_is_named(file: str, tmp_path: Path) -> None:
    """A half-written file, or a traceback of another program's writer."""
    for package in ("gaussforge", "pxr", "fourdgs"):
        pytest.importorskip(package)
    (tmp_path / file).mkdir()
    with pytest.raises(InputError, match=rf"{file}: got no file \(Is a directory\)"):
        export_scene(scene_of(spread()), tmp_path / file)
    (tmp_path / "note.txt").write_text("no folder")
    with pytest.raises(InputError, match="got no file .*expected a place that can be written"):
        export_scene(scene_of(spread()), tmp_path / "note.txt" / file)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["note.txt", file])
    assert not list((tmp_path / file).iterdir())


def test_options_that_drop_every_gaussian_are_named(tmp_path: Path) -> None:
    """A file without Gaussians, which viewers don't open."""
    edit = EditConfig(min_opacity=0.5, crop_box=(7, 7, 7, 8, 8, 8))
    with pytest.raises(InputError, match=r"no Gaussian left by min_opacity 0.5, crop_box \(7, 7"):
        export_scene(scene_of(spread()), tmp_path / "scene.ply", edit=edit)
    # A moving scene that ends empty.
    with pytest.raises(InputError, match="no Gaussian left by"):
        export_scene(
            scene_of(spread(), spread(50.0)),
            tmp_path / "scene.ply",
            edit=EditConfig(crop_box=(-5, -5, -5, 5, 5, 5)),
        )
    assert not list(tmp_path.iterdir())


def test_the_command_writes_and_refuses_in_one_line(tmp_path: Path) -> None:
    """A traceback, an exit code of 0, or options that the command forgets."""
    source = tmp_path / "scene.ply"
    write_ply(source, spread())
    options = ["--min_opacity", "0.5", "--crop_box", "-1", "-1", "-1", "1", "1", "1"]
    options += ["--up", "y", "--max_gaussians", "20", "--median_depth", "4"]
    done = run_command(str(source), str(tmp_path / "out.ply"), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out.ply'}: 0.00 MB; moments: 1\n"
    rows = READERS["ply"](tmp_path / "out.ply")
    assert len(rows) == 20 and rows[:, 3].min() >= 0.5
    failed = run_command(str(source), str(tmp_path / "out.ply"), "--min_opacity", "2")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr == "export.py: min_opacity: got 2.0, expected an opacity in [0, 1]\n"
