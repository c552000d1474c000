"""Finished scenes stay where everything is as it was; where anything changed, a run is refused."""

import json
from pathlib import Path

import pytest
import torch
from tiny_scene import DECODER, TinyInput

from src.models.recon.decoder import LatentRecon
from src.reconstruct.run import reconstruct
from src.runtime import InputError


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_clip(inputs: TinyInput, part: str) -> None:
    path = next((inputs.root / "0" / part).glob("scene_0.*"))
    # Another valid clip of the same size under the same name.
    path.write_bytes(next((inputs.root / "1" / part).glob("scene_1.*")).read_bytes())


def change_weights(inputs: TinyInput) -> None:
    torch.manual_seed(99)
    torch.save({"module": LatentRecon(DECODER).state_dict()}, inputs.checkpoint)


def change_tokenizer(inputs: TinyInput) -> None:
    flip_last_byte(inputs.folder / "tokenizer/decoder.safetensors")


@pytest.mark.parametrize(
    ("change", "settings", "named"),
    [
        (lambda inputs: change_clip(inputs, "latent"), (), r"clips\.0\.latent = '[0-9a-f]{20,}"),
        (lambda inputs: change_clip(inputs, "rgb"), (), r"clips\.0\.rgb"),
        (lambda inputs: change_clip(inputs, "pose"), (), r"clips\.0\.pose"),
        (change_weights, (), "decoder = "),
        (change_tokenizer, (), "tokenizer = "),
        (None, ("model.zfar=80.0",), r"settings\.render\.far = 500\.0.*expected 80\.0"),
        (None, ("target_index_subsample=2",), r"target_stride"),
        (None, ("save_gaussians=true",), r"settings\.output\.tensor = False"),
        (None, ("out_fps=12",), r"settings\.output\.fps = 24"),
        (None, ("output.ply_padded=true",), r"settings\.output\.ply_padded = nothing.*True"),
    ],
    ids=[
        "latents",
        "pictures",
        "poses",
        "weights",
        "tokenizer",
        "far",
        "targets",
        "files",
        "fps",
        "padding",
    ],
)
def test_a_finished_scene_of_something_else_is_refused(
    broken_input: TinyInput, tmp_path: Path, change: object, settings: tuple[str, ...], named: str
) -> None:
    """Old results that pass for new ones after clips, weights or settings changed."""
    out = tmp_path / "out"
    reconstruct(broken_input.configure(out))
    if callable(change):
        change(broken_input)
    with pytest.raises(InputError, match=f"made_from.json.*{named}.*overwrite=true"):
        reconstruct(broken_input.configure(out, *settings))


def test_overwriting_is_possible(broken_input: TinyInput, tmp_path: Path) -> None:
    """A refusal without a way out, or a scene that keeps files of the earlier run."""
    out = tmp_path / "out"
    reconstruct(broken_input.configure(out))
    ply = broken_input.results(out) / "gaussians_orig/gaussians_0.ply"
    before = ply.read_bytes()
    change_weights(broken_input)
    reconstruct(broken_input.configure(out, "overwrite=true"))
    assert ply.read_bytes() != before
    stamp = ply.stat().st_mtime_ns
    reconstruct(broken_input.configure(out, "overwrite=true"))
    assert ply.stat().st_mtime_ns == stamp
    other = tmp_path / "other"
    reconstruct(broken_input.configure(other))
    assert (broken_input.results(other) / "gaussians_orig/gaussians_0.ply").read_bytes() == (
        ply.read_bytes()
    )
    # The published key makes everything again.
    reconstruct(broken_input.configure(out, "skip_existing=false"))
    assert ply.stat().st_mtime_ns != stamp


def test_a_scene_without_one_of_its_files_is_made_again(
    static_input: TinyInput, tmp_path: Path
) -> None:
    """A deleted PLY that no later run brings back."""
    reconstruct(static_input.configure(tmp_path))
    folder = static_input.results(tmp_path)
    ply, other = (folder / f"gaussians_orig/gaussians_{index}.ply" for index in range(2))
    before, stamp = ply.read_bytes(), other.stat().st_mtime_ns
    ply.unlink()
    reconstruct(static_input.configure(tmp_path))
    assert ply.read_bytes() == before and other.stat().st_mtime_ns == stamp


def test_a_scene_without_a_record_is_refused(static_input: TinyInput, tmp_path: Path) -> None:
    """Results of the published program, or of an earlier version, that pass for this run's."""
    reconstruct(static_input.configure(tmp_path))
    (static_input.results(tmp_path) / "scenes/0/made_from.json").unlink()
    with pytest.raises(InputError, match=r"meta/sample_0\.json.*overwrite=true"):
        reconstruct(static_input.configure(tmp_path))
    reconstruct(static_input.configure(tmp_path, "overwrite=true"))


def test_results_of_a_longer_run_do_not_stay(static_input: TinyInput, tmp_path: Path) -> None:
    """Scenes of another data set beside the new ones, under numbers that nobody asked for."""
    reconstruct(static_input.configure(tmp_path))
    with pytest.raises(InputError, match=r"sample_1\.json.*the 1 scenes of this run"):
        reconstruct(static_input.configure(tmp_path, "num_test_images=1"))


def test_an_evaluation_is_checked_too(broken_input: TinyInput, tmp_path: Path) -> None:
    """An evaluation that reports yesterday's weights."""
    out = tmp_path / "out"
    reconstruct(broken_input.configure(out, "do_eval=true"))
    video = broken_input.results(out) / "0/scene_0.mp4"
    stamp = video.stat().st_mtime_ns
    reconstruct(broken_input.configure(out, "do_eval=true"))
    assert video.stat().st_mtime_ns == stamp
    change_weights(broken_input)
    with pytest.raises(InputError, match="decoder = "):
        reconstruct(broken_input.configure(out, "do_eval=true"))


def test_removed_results_are_an_error(
    static_input: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends well although its results were removed while it worked."""
    from src.reconstruct import results

    original = results.write_png

    def remove_first(path: Path, *rest: object) -> None:
        original(path, *rest)
        path.parent.parent.parent.joinpath("raw/rgb_wave_0.mp4").unlink(missing_ok=True)

    monkeypatch.setattr(results, "write_png", remove_first)
    with pytest.raises(InputError, match=r"rgb_wave_0\.mp4: got 1 files are gone"):
        reconstruct(static_input.configure(tmp_path, "num_test_images=1"))


def test_the_record_lists_the_files(static_input: TinyInput, tmp_path: Path) -> None:
    """A record of files that are not there, or that leaves some out."""
    reconstruct(static_input.configure(tmp_path, "num_test_images=1"))
    folder = static_input.results(tmp_path)
    record = json.loads((folder / "scenes/0/made_from.json").read_text())
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {*record["files"], "scenes/0/made_from.json", "meta/sample_0.json"}


def stop(inputs: TinyInput, out: Path, at: str, *settings: str) -> dict[Path, int]:
    """Stop a run at a file that cannot be written; the times of what it had written of a scene."""
    folder = inputs.results(out)
    (folder / at).mkdir(parents=True)
    with pytest.raises(InputError, match="no file"):
        reconstruct(inputs.configure(out, "num_test_images=1", *settings))
    (folder / at).rmdir()
    record = next(folder.rglob("made_from*.json"))
    files = json.loads(record.read_text())["files"]
    assert files and at not in files and not list(folder.glob("meta/sample_*"))
    return {folder / name: (folder / name).stat().st_mtime_ns for name in files}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("at", "settings"),
    [("main_gaussians_renderings/rgb_0.mp4", ()), ("1/scene_0.mp4", ("do_eval=true",))],
    ids=["scene", "evaluation"],
)
def test_a_stopped_scene_keeps_its_complete_files(
    static_input: TinyInput, tmp_path: Path, at: str, settings: tuple[str, ...]
) -> None:
    """Minutes of videos that are made again; half a scene that passes for a whole one."""
    times = stop(static_input, tmp_path / "out", at, *settings)
    for out in (tmp_path / "out", tmp_path / "whole"):
        reconstruct(static_input.configure(out, "num_test_images=1", *settings))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert contents(static_input.results(tmp_path / "out")) == contents(
        static_input.results(tmp_path / "whole")
    )


@pytest.mark.parametrize("change", ["weights", "all again", "damaged record"])
def test_files_of_another_making_do_not_stay(
    broken_input: TinyInput, tmp_path: Path, change: str
) -> None:
    """A scene of two makings, the first of which was stopped."""
    times = stop(broken_input, tmp_path / "out", "main_gaussians_renderings/rgb_0.mp4")
    settings = ["num_test_images=1"]
    if change == "weights":
        change_weights(broken_input)
    elif change == "all again":
        settings.append("skip_existing=false")
    else:
        next((tmp_path / "out").rglob("made_from.json")).write_text("{")
    for out in (tmp_path / "out", tmp_path / "whole"):
        reconstruct(broken_input.configure(out, *settings))
    assert all(path.stat().st_mtime_ns != before for path, before in times.items())
    found = contents(broken_input.results(tmp_path / "out"))
    assert found == contents(broken_input.results(tmp_path / "whole"))
