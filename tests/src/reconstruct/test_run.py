"""A whole run in this process: what it writes, what it leaves alone, and what stops it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from tiny_scene import (
    DECODER,
    FRAMES,
    HEIGHT,
    WIDTH,
    TinyInput,
    files_of,
    tiny_tokenizer,
)

import src.reconstruct.pictures as pictures
from src.checkpoints import TOKENIZER
from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.cameras.file import read_camera_file
from src.io.ply import read_ply
from src.io.video.video import read_video, video_header
from src.models.recon.decoder import LatentRecon, save_decoder
from src.models.recon.heads import keep_count
from src.reconstruct.inputs import WeightsConfig, check_configuration, find_tokenizer
from src.reconstruct.run import reconstruct
from src.rendering.options import RasterizeOptions, Render
from src.rendering.rasterize import Backend
from src.runtime import InputError
from src.tokenizer.loading import save_tokenizer

# Frames 0, 4 and 8 of each of two trajectories.
PER_TRAJECTORY, WAVE = 3, 49
CELLS = 2 * FRAMES * (HEIGHT // 8) * (WIDTH // 8)


def frames_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Frames, height and width of every video below a folder."""
    found = {}
    for path in sorted(folder.rglob("*.mp4")):
        info = video_header(path)
        name = str(path.relative_to(folder).with_suffix(""))
        found[name] = (info.num_frames, info.height, info.width)
    return found


def test_a_static_run_writes_the_published_tree(static_input: TinyInput, tmp_path: Path) -> None:
    """A file that is missing, misnamed, or has another number or size of frames."""
    reconstruct(static_input.configure(tmp_path, "use_depth=true"))
    folder = static_input.results(tmp_path)
    videos = {}
    for index in range(2):
        count = 2 * PER_TRAJECTORY
        videos[f"main_gaussians_renderings/rgb_{index}"] = (WAVE + count, HEIGHT, WIDTH)
        videos[f"raw/rgb_wave_{index}"] = (WAVE, HEIGHT, WIDTH)
        # Rendering, reference, depth and reference depth.
        videos[f"full_output/sample_{index}"] = (count, HEIGHT, 4 * WIDTH)
        for position in range(2):
            name = f"raw/rgb_{index}_view_idx_{position}"
            videos[name] = (PER_TRAJECTORY, HEIGHT, WIDTH)
    assert frames_of(folder) == videos
    assert (folder / "grid").is_dir()
    for index in range(2):
        meta = json.loads((folder / f"meta/sample_{index}.json").read_text())
        assert meta == {"file_name": [f"scene_{index}"]}
        gaussians = read_ply(folder / f"gaussians_orig/gaussians_{index}.ply")
        assert len(gaussians) == keep_count(CELLS, DECODER.prune_ratio)
        cameras = read_camera_file(folder / f"scenes/{index}/cameras.json").cameras
        assert cameras.c2w.shape == (2 * FRAMES, 4, 4)
        torch.testing.assert_close(cameras.c2w[0], torch.eye(4))
        metrics = json.loads((folder / f"scenes/{index}/metrics.json").read_text())
        frames = [(part["trajectory"], part["frame"]) for part in metrics["frames"]]
        assert frames == [(name, frame) for name in ("2", "0") for frame in (0, 4, 8)]
        mean = sum(part["psnr"] for part in metrics["frames"]) / len(frames)
        assert metrics["psnr"] == pytest.approx(mean) and 0 < mean < 60


def test_columns_are_what_they_should_be(static_input: TinyInput, tmp_path: Path) -> None:
    """Reference frames beside the wrong rendering, or in the order of another trajectory."""
    reconstruct(static_input.configure(tmp_path, "num_test_images=1", "use_depth=true"))
    folder = static_input.results(tmp_path)
    full = read_video(folder / "full_output/sample_0.mp4").float()
    ours, reference, _, depth = full.split(WIDTH, dim=2)
    parts = [read_video(folder / f"raw/rgb_0_view_idx_{k}.mp4").float() for k in range(2)]
    # Twice compressed, so close but not equal.
    assert (ours - torch.cat(parts)).abs().mean() < 6
    clips = [read_video(static_input.root / f"{name}/rgb/scene_0.mp4") for name in ("2", "0")]
    wanted = torch.cat([clip[::4] for clip in clips]).float()
    assert (reference - wanted).abs().mean() < 12
    # Depth grows downwards: red at the top, blue at the bottom.
    assert (depth[:, :3, :, 0] - depth[:, :3, :, 2]).mean() > 60
    assert (depth[:, -3:, :, 0] - depth[:, -3:, :, 2]).mean() < -60
    assert len(files_of(folder / "meta")) == 1


def test_a_dynamic_run_has_a_folder_for_every_time(
    dynamic_input: TinyInput, tmp_path: Path
) -> None:
    """Times that share Gaussians, or are compared with pictures of other moments."""
    reconstruct(dynamic_input.configure(tmp_path))
    packed = []
    for time in (0, 8):
        folder = dynamic_input.results(tmp_path, time)
        # With the time frozen all cameras are rendered.
        assert video_header(folder / "full_output/sample_0.mp4").num_frames == 6
        packed.append(read_ply(folder / "gaussians_orig/gaussians_0.ply").packed())
        metrics = json.loads((folder / "scenes/0/metrics.json").read_text())
        assert [part["frame"] for part in metrics["frames"]] == [time, time]
    assert not torch.equal(*packed)


def test_the_padded_ply_is_a_setting(static_input: TinyInput, tmp_path: Path) -> None:
    """A setting without effect, or one that changes the values that all viewers read."""
    tables = []
    for padded in ("false", "true"):
        folder = tmp_path / padded
        reconstruct(static_input.configure(folder, f"output.ply_padded={padded}"))
        path = static_input.results(folder) / "gaussians_orig/gaussians_0.ply"
        tables.append(PlyData.read(str(path))["vertex"].data)
    plain, padded = tables
    names = [*(plain.dtype.names or ())]
    assert all(np.array_equal(plain[name], padded[name]) for name in names)
    added = [name for name in padded.dtype.names or () if name not in names]
    assert added == ["nx", "ny", "nz", *(f"f_rest_{index}" for index in range(45))]
    assert not any(padded[name].any() for name in added)


def test_without_a_frozen_time_its_own_cameras_are_rendered(
    dynamic_input: TinyInput, tmp_path: Path
) -> None:
    """Cameras of the first time in the folders of all others."""
    settings = ("set_manual_time_idx=false", "save_gaussians=true", "save_gaussians_orig=false")
    reconstruct(dynamic_input.configure(tmp_path, *settings))
    frozen = tmp_path / "frozen"
    reconstruct(dynamic_input.configure(frozen, "save_gaussians=true", "save_gt_input=false"))
    for time in (0, 8):
        folder = dynamic_input.results(tmp_path, time)
        assert video_header(folder / "raw/rgb_0_view_idx_1.mp4").num_frames == 1
        metrics = json.loads((folder / "scenes/0/metrics.json").read_text())
        assert [part["frame"] for part in metrics["frames"]] == [time, time]
        both = [dynamic_input.results(root, time) for root in (tmp_path, frozen)]
        dumps = [torch.load(path / "gaussians/gaussians_0.ply") for path in both]
        assert dumps[0].shape == (1, keep_count(CELLS, 0.5), 14)
        assert torch.equal(*dumps)
        assert not (folder / "gaussians_orig").exists()


def test_an_evaluation_writes_one_video_a_trajectory(
    static_input: TinyInput, tmp_path: Path
) -> None:
    """Anything else in the folder that the metrics are computed from."""
    reconstruct(static_input.configure(tmp_path, "do_eval=true", "save_grid=true"))
    names = {f"{position}/scene_{index}.mp4" for position in range(2) for index in range(2)}
    names |= {f"meta/made_from_scene_{index}.json" for index in range(2)}
    assert files_of(static_input.results(tmp_path)) == names


def test_the_input_can_be_decoded_and_scenes_tiled(static_input: TinyInput, tmp_path: Path) -> None:
    """The re-decoded input lost, or grids of another layout."""
    settings = ("save_rgb_decoding=true", "save_video_input=true", "save_grid=true")
    reconstruct(static_input.configure(tmp_path, *settings, "num_grid_samples=2"))
    folder = static_input.results(tmp_path)
    videos = frames_of(folder)
    assert videos["raw/input_1"] == (2 * FRAMES, HEIGHT, WIDTH)
    # Two scenes are no square: one row.
    assert videos["grid/sample_grid_0"] == (6, HEIGHT, 2 * 3 * WIDTH)
    assert videos["grid/rgb_grid_0"] == (WAVE + 6, HEIGHT, 2 * WIDTH)
    assert videos["grid/input_grid_0"] == (2 * FRAMES, HEIGHT, 2 * WIDTH)
    # At stride 1 the input has the shape of the rendering: it becomes a column.
    out = tmp_path / "all"
    settings = ("save_rgb_decoding=true", "save_video_input=true", "target_index_subsample=1")
    reconstruct(static_input.configure(out, *settings, "num_test_images=1"))
    videos = frames_of(static_input.results(out))
    assert videos["full_output/sample_0"] == (2 * FRAMES, HEIGHT, 4 * WIDTH)
    assert "raw/input_0" not in videos


def test_finished_scenes_are_not_made_again(
    static_input: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run that makes everything again, or believes in a scene without its end."""
    reconstruct(static_input.configure(tmp_path))
    folder = static_input.results(tmp_path)
    for name in ("meta/sample_1.json", "full_output/sample_1.mp4"):
        (folder / name).unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    reconstruct(static_input.configure(tmp_path))
    changed = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    }
    assert "meta/sample_1.json" in changed and "full_output/sample_1.mp4" in changed
    # What is complete of the other scene stays, too.
    record = "scenes/1/made_from.json"
    assert changed == {"meta/sample_1.json", "full_output/sample_1.mp4", record}
    # Nothing left to do: the weights are not even loaded.
    monkeypatch.setattr("src.reconstruct.run.load_scene_decoder", None)
    reconstruct(static_input.configure(tmp_path))


def test_every_frame_is_rendered_once(
    static_input: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published fourfold rendering, or a depth pass where no depth is shown."""
    calls: list[tuple[int, bool]] = []
    original = pictures.rasterize

    def counted(
        gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions, backend: Backend
    ) -> Render:
        calls.append((len(cameras), options.depth))
        return original(gaussians, cameras, options, backend)

    monkeypatch.setattr(pictures, "rasterize", counted)
    reconstruct(static_input.configure(tmp_path, "num_test_images=1"))
    assert calls == [(PER_TRAJECTORY, True)] * 2
    calls.clear()
    reconstruct(static_input.configure(tmp_path, "num_test_images=1", "do_eval=true"))
    assert calls == [(PER_TRAJECTORY, False)] * 2


def test_our_weights_and_a_training_run_can_be_used(
    static_input: TinyInput, tmp_path: Path
) -> None:
    """Only the published file is found, or the wrong checkpoint of a run."""
    training = static_input.folder / "training"
    for step in (9, 10):
        torch.manual_seed(step)
        save_decoder(LatentRecon(DECODER), training / f"checkpoint-{step}")
    settings = ("ckpt_path=null", "num_test_images=1", "save_gaussians=true")
    reconstruct(static_input.configure(tmp_path, *settings))
    rest = static_input.results(tmp_path).relative_to(tmp_path)
    newest = tmp_path / "checkpoint-10" / rest
    assert (newest / "meta/sample_0.json").is_file()
    reconstruct(static_input.configure(tmp_path, *settings, "ckpt_name=checkpoint-9"))
    older = tmp_path / "checkpoint-9" / rest
    dumps = [torch.load(path / "gaussians/gaussians_0.ply") for path in (newest, older)]
    assert not torch.equal(*dumps)
    shutil.rmtree(training)


def test_weights_of_other_settings_are_refused(tmp_path: Path) -> None:
    """Another pruning or range than in training: the tensors fit, the scene is another one."""
    save_decoder(LatentRecon(DECODER), tmp_path)
    other = replace(DECODER, prune_ratio=0.25, far=80.0, checkpointing=True)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        check_configuration(path, replace(DECODER, checkpointing=True))
        with pytest.raises(InputError, match=r"decoder\.far = 500\.0.*80\.0, as configured"):
            check_configuration(path, other)
        with pytest.raises(
            InputError, match=r"prune_ratio = 0\.5.*model\.decoder\.prune_ratio=0\.25"
        ):
            check_configuration(path, other, ["far"])
        check_configuration(path, other, ["far", "prune_ratio"])
    # A published checkpoint says nothing of its settings, whatever lies beside it.
    check_configuration(tmp_path / "lyra.pt", other)


def test_pictures_can_be_the_input(static_input: TinyInput, tmp_path: Path) -> None:
    """Stages that read pictures, which no latents are needed for."""
    config = static_input.configure(tmp_path, "model.load_latents=false", "num_test_images=1")
    reconstruct(config)
    assert (static_input.results(tmp_path) / "meta/sample_0.json").is_file()


def test_a_failed_writer_leaves_the_scene_unfinished(
    static_input: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the thread that is lost, after which the scene passes for finished."""

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("src.reconstruct.results.write_ply", fail)
    with pytest.raises(OSError, match="disk full"):
        reconstruct(static_input.configure(tmp_path))
    assert not files_of(static_input.results(tmp_path))


@pytest.mark.parametrize("place", [".", "cosmos_predict1"])
def test_the_tokenizer_is_found_in_either_published_folder(tmp_path: Path, place: str) -> None:
    """Two copies of the same weights, because the stages look in different folders."""
    folder = tmp_path / place / TOKENIZER
    save_tokenizer(tiny_tokenizer(), folder)
    found = find_tokenizer(WeightsConfig(tokenizer=str(tmp_path / "cosmos_predict1" / TOKENIZER)))
    assert found.resolve() == folder.resolve()
    with pytest.raises(InputError, match="tokenizer"):
        find_tokenizer(WeightsConfig(tokenizer=str(tmp_path / "another/folder")))
