"""The folder of encoded Pluecker maps: never another result than encoding again."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_scene import TinyInput, files_of
from torch import Tensor

from src.geometry.cameras import Cameras
from src.io.video.video import read_video
from src.models.data.dataset import ExampleDraw
from src.reconstruct.inputs import Scenes, load_scene_decoder
from src.reconstruct.pluecker_files import PlueckerFiles, encoding_settings
from src.reconstruct.run import reconstruct
from src.tokenizer.loading import load_statistics
from src.tokenizer.network import Autoencoder

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).resolve().parents[3]
MEGABYTE = 1 << 20


def cameras(shift: float = 0.0) -> Cameras:
    c2w = torch.eye(4).repeat(2, 9, 1, 1)
    c2w[..., 0, 3] = shift
    return Cameras(c2w, torch.tensor([40.0, 40, 24, 16]).repeat(2, 9, 1), 48, 32)


class CountedEncoder:
    """An encoder whose maps tell the cameras, and the number of its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, seen: Cameras, device: torch.device) -> Tensor:
        self.calls += 1
        maps = torch.arange(2 * 2 * 4 * 4 * 6.0).reshape(2, 2, 4, 4, 6)
        return (maps + seen.c2w[0, 0, 0, 3]).to(torch.bfloat16).to(device)


def files(
    folder: Path, encode: Callable, most_bytes: int = MEGABYTE, **changed: object
) -> PlueckerFiles:
    made_by = {"tokenizer": "abc", "type": "bfloat16"} | changed
    return PlueckerFiles(encode, folder, most_bytes, made_by, background=lambda job: job())


def test_maps_of_a_file_equal_encoded_ones(tmp_path: Path) -> None:
    """A cache without effect, or one that changes type, shape or a bit."""
    encode = CountedEncoder()
    expected = encode(cameras(0.3), CPU)
    for _ in range(2):
        kept = files(tmp_path, encode)
        for _ in range(2):
            found = kept(cameras(0.3), CPU)
            assert found.dtype == expected.dtype and torch.equal(found, expected)
    assert encode.calls == 2


@pytest.mark.parametrize("what", ["pose", "intrinsics", "size", "type", "tokenizer", "order"])
def test_whatever_decides_on_the_maps_is_in_the_name(tmp_path: Path, what: str) -> None:
    """Maps of other cameras, weights or types."""
    encode = CountedEncoder()
    seen = cameras(0.3)
    files(tmp_path, encode)(seen, CPU)
    settings = {what: "other"} if what in ("type", "tokenizer") else {}
    if what == "pose":
        seen.c2w[1, 8, 2, 3] += 1e-7
    elif what == "intrinsics":
        seen.intrinsics[1, 8, 0] += 1e-5
    elif what == "size":
        seen = replace(seen, width=32, height=48)
    elif what == "order":
        seen.c2w[1, ..., 1, 3] = 1
        files(tmp_path, encode)(seen, CPU)
        seen = seen[torch.tensor([1, 0])]
    before = encode.calls
    files(tmp_path, encode, **settings)(seen, CPU)
    assert encode.calls == before + 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "renamed", "text"])
def test_damaged_files_are_encoded_again_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash, silence, or wrong maps."""
    encode = CountedEncoder()
    expected = files(tmp_path, encode)(cameras(0.3), CPU)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("not maps")
    else:
        files(tmp_path, encode)(cameras(0.5), CPU)
        (other,) = set(tmp_path.iterdir()) - {path}
        other.replace(path)
    before = encode.calls
    with caplog.at_level(logging.WARNING):
        assert torch.equal(files(tmp_path, encode)(cameras(0.3), CPU), expected)
    assert encode.calls == before + 1 and path.name in caplog.text
    # The new file is sound.
    assert torch.equal(files(tmp_path, encode)(cameras(0.3), CPU), expected)
    assert encode.calls == before + 1


def test_the_folder_has_a_bound(tmp_path: Path) -> None:
    """A disk that fills up, the wrong file removed, or files although there is no room for any."""
    encode = CountedEncoder()
    files(tmp_path / "none", encode, most_bytes=0)(cameras(), CPU)
    assert not (tmp_path / "none").exists()
    files(tmp_path, encode)(cameras(), CPU)
    (first,) = (path for path in tmp_path.iterdir())
    room = 2 * first.stat().st_size + 10
    files(tmp_path, encode, room)(cameras(1.0), CPU)
    # Used again, so the other one is older.
    files(tmp_path, encode, room)(cameras(), CPU)
    files(tmp_path, encode, room)(cameras(2.0), CPU)
    assert len(list(tmp_path.iterdir())) == 2 and first.is_file()


def test_a_full_disk_costs_only_the_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run that ends because its cache cannot be written."""
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        files(tmp_path / "file", CountedEncoder())(cameras(), CPU)
    assert "not kept" in caplog.text


def test_a_second_run_encodes_no_cameras(
    static_input: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras of the early read that differ from those of the scene, or another result."""
    out = tmp_path / "out"
    config = static_input.configure(out, "num_test_images=1")
    calls: list[int] = []

    encode = Autoencoder.encode

    def counted(autoencoder: Autoencoder, video: Tensor, at_once: int = 0) -> Tensor:
        calls.append(len(video))
        return encode(autoencoder, video, at_once)

    monkeypatch.setattr(Autoencoder, "encode", counted)
    reconstruct(config)
    # Both halves of two trajectories, together.
    assert calls == [4] and len(files_of(out / ".pluecker")) == 1
    ply = static_input.results(out) / "gaussians_orig/gaussians_0.ply"
    first = ply.read_bytes()
    reconstruct(replace(config, output=replace(config.output, finished="remake")))
    assert calls == [4] and ply.read_bytes() == first


def test_a_new_process_imports_no_large_library_nor_the_compiler(
    static_input: TinyInput, tmp_path: Path
) -> None:
    """Would catch seconds of imports that such a run does not need, on new cameras and on known."""
    given = (f"out_dir_inference={tmp_path}", "num_test_images=1", "output.finished=remake")
    blocked = "diffusers,transformers,peft,scipy,sympy"
    blocker = (str(REPOSITORY / "tests/block_imports.py"), blocked)
    command = [sys.executable, *blocker, "sample.py", *static_input.arguments(*given)]
    # The second one knows the cameras.
    for _ in range(2):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_settings_and_cameras_are_those_of_the_run(static_input: TinyInput) -> None:
    """A key that misses the tokenizer's type, or cameras of another crop or reference."""
    config = static_input.configure(static_input.output)
    decoder = load_scene_decoder(config.weights, config.decoder, CPU)
    made_by = encoding_settings(decoder, "digest", torch.float32)
    assert made_by["type"] == "torch.float32" and made_by["tokenizer"] == "digest"
    scenes = Scenes(config.scenes, load_statistics(Path(config.weights.tokenizer)))
    early, example = scenes.first.cameras(ExampleDraw(1)), scenes.first[1]
    assert torch.equal(early.c2w, example.cameras.c2w)
    assert torch.equal(early.intrinsics, example.cameras.intrinsics)
    assert (early.width, early.height) == (example.cameras.width, example.cameras.height)


@pytest.mark.gpu
def test_runs_on_a_gpu_agree(static_input: TinyInput, tmp_path: Path) -> None:
    """Frames that are copied or compared before they are rendered; maps of a file that differ."""
    config = static_input.configure(tmp_path, "num_test_images=1", "device=cuda")
    found = []
    for _ in range(3):
        reconstruct(replace(config, output=replace(config.output, finished="remake")))
        folder = static_input.results(tmp_path)
        metrics = json.loads((folder / "scenes/0/metrics.json").read_text())
        video = read_video(folder / "full_output/sample_0.mp4").float()
        found.append((metrics["psnr"], video))
    for ratio, video in found[1:]:
        assert ratio == pytest.approx(found[0][0], abs=0.01)
        assert (video - found[0][1]).abs().mean() < 0.1
