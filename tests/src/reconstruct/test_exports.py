"""The formats that a run writes beside its scenes' PLYs, and what a resumed run does with them."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tiny_scene import TinyInput, files_of

from src.io.ply import read_ply
from src.reconstruct.run import reconstruct
from src.runtime import InputError
from tests.src.export import readers


def times_of(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_exports_lie_beside_the_ply(static_input: TinyInput, tmp_path: Path) -> None:
    """A format that is left out, written from other Gaussians, or made again by a second run."""
    pytest.importorskip("gaussforge")
    settings = ("num_test_images=1", "export_formats=[spz,ply,splat,spz]")
    reconstruct(static_input.configure(tmp_path, *settings))
    folder = static_input.results(tmp_path)
    names = {f"gaussians_0.{suffix}" for suffix in ("spz", "splat")}
    assert files_of(folder / "gaussians_export") == names
    # The format sorts the Gaussians, so each centre is compared with the nearest one.
    ours = read_ply(folder / "gaussians_orig/gaussians_0.ply").means
    found = torch.from_numpy(readers.read_splat(folder / "gaussians_export/gaussians_0.splat"))
    assert len(found) == len(ours)
    assert torch.cdist(ours.double(), found[:, :3].double()).amin(1).max() < 1e-5
    record = json.loads((folder / "scenes/0/made_from.json").read_text())
    assert {f"gaussians_export/{name}" for name in names} <= {*record["files"]}
    before = times_of(folder)
    # The order of the names and repetitions change nothing.
    reconstruct(
        static_input.configure(tmp_path, "num_test_images=1", "export_formats=[splat,ply,spz]")
    )
    assert times_of(folder) == before
    (folder / "gaussians_export/gaussians_0.spz").unlink()
    reconstruct(static_input.configure(tmp_path, *settings))
    after = times_of(folder)
    changed = {str(path.relative_to(folder)) for path in after if after[path] != before.get(path)}
    assert changed == {
        "gaussians_export/gaussians_0.spz",
        "scenes/0/made_from.json",
        "meta/sample_0.json",
    }


def test_the_default_is_the_ply_alone(static_input: TinyInput, tmp_path: Path) -> None:
    """Records of earlier runs that the new setting makes foreign; a folder nobody asked for."""
    reconstruct(static_input.configure(tmp_path, "num_test_images=1"))
    folder = static_input.results(tmp_path)
    assert not (folder / "gaussians_export").exists()
    record = json.loads((folder / "scenes/0/made_from.json").read_text())
    assert "export_formats" not in record["made_from"]["settings"]["output"]
    with pytest.raises(InputError, match=r"export_formats = nothing.*overwrite=true"):
        settings = ("num_test_images=1", "export_formats=[ply,ply_padded]")
        reconstruct(static_input.configure(tmp_path, *settings))


def test_without_ply_there_is_none(static_input: TinyInput, tmp_path: Path) -> None:
    """A list that is only added to; a single name that is refused."""
    settings = ("num_test_images=1", "export_formats=ply_padded")
    reconstruct(static_input.configure(tmp_path, *settings))
    folder = static_input.results(tmp_path)
    assert not (folder / "gaussians_orig").exists()
    assert len(read_ply(folder / "gaussians_export/gaussians_0.ply"))


def test_a_moving_scene_has_one_file_of_all_moments(
    dynamic_input: TinyInput, tmp_path: Path
) -> None:
    """One time sample a file, files of stale moments, or a file made again each time."""
    pytest.importorskip("gaussforge")
    usd = pytest.importorskip("pxr.Usd")
    settings = ("export_formats=[ply,spz,usdc]",)
    reconstruct(dynamic_input.configure(tmp_path, *settings))
    for time in (0, 8):
        folder = dynamic_input.results(tmp_path, time)
        assert files_of(folder / "gaussians_export") == {"gaussians_0.spz"}
    root = dynamic_input.results(tmp_path)
    path = root / "gaussians_export/gaussians_0.usdc"
    stage = usd.Stage.Open(str(path))
    positions = stage.GetPrimAtPath("/World/Gaussians").GetAttribute("positions")
    # A moment is held until 2^-10 time codes before the next one.
    assert positions.GetTimeSamples() == [0.0, 8.0 - 2**-10, 8.0]
    before = times_of(root)
    reconstruct(dynamic_input.configure(tmp_path, *settings))
    assert times_of(root) == before
    path.unlink()
    reconstruct(dynamic_input.configure(tmp_path, *settings))
    assert path.is_file()
    # Another moment: the file of both is another one, too.
    more = (*settings, "target_index_manual=[0,4,8]")
    reconstruct(dynamic_input.configure(tmp_path, *more))
    # OpenUSD keeps the layers that it has opened.
    stage.Reload()
    assert positions.GetTimeSamples() == [0.0, 4.0 - 2**-10, 4.0, 8.0 - 2**-10, 8.0]


def test_an_evaluation_exports_nothing(static_input: TinyInput, tmp_path: Path) -> None:
    """Files among the videos that are compared."""
    settings = ("do_eval=true", "num_test_images=1", "export_formats=[ply,ply_padded]")
    reconstruct(static_input.configure(tmp_path, *settings))
    assert not list(tmp_path.rglob("gaussians_*.*"))


@pytest.mark.parametrize("names", ["[ply,gltf]", "gltf", "[colmap]"])
def test_an_unknown_format_is_refused(static_input: TinyInput, tmp_path: Path, names: str) -> None:
    """Minutes of work before a mistyped name is noticed, or a message without the known ones."""
    with pytest.raises(InputError, match=r"export_formats.*(gltf|colmap).*some of ply, .*spz"):
        static_input.configure(tmp_path, f"export_formats={names}")


def test_all_moments_in_one_file_need_the_plys(dynamic_input: TinyInput, tmp_path: Path) -> None:
    """A file of all moments that silently stays away."""
    with pytest.raises(InputError, match="export_formats.*`ply`, too.*4dgs"):
        dynamic_input.configure(tmp_path, "export_formats=[4dgs]")


def test_a_missing_extra_is_named_before_the_work(
    static_input: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded scenes that are lost for want of a package."""
    monkeypatch.setitem(sys.modules, "gaussforge", None)
    monkeypatch.setattr("src.reconstruct.run.Scenes", None)
    with pytest.raises(InputError, match=r"gaussforge: got no such package.*open-lyra\[export\]"):
        reconstruct(static_input.configure(tmp_path, "export_formats=[ply,spz]"))
    assert not files_of(tmp_path)
