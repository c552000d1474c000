"""MoGe's own classes, small and with random backbones, behind the depth backend."""

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_moge
import torch

from src.depth.backends.choice import in_scene_unit, resolve_depth
from src.depth.backends.moge import INSTALL, MoGeDepth, load_moge
from src.runtime import InputError

pytest.importorskip("moge", reason=f"MoGe is not installed: {INSTALL}")

# No side is a multiple of the patches of 14.
HEIGHT, WIDTH = 45, 80
VERSIONS = ("v1", "v2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint folder for each version."""
    folders = {version: tmp_path_factory.mktemp(version) for version in VERSIONS}
    for version, folder in folders.items():
        tiny_moge.write_moge(folder / "moge" / "model.pt", version)
    return folders


@pytest.mark.parametrize("version", VERSIONS)
def test_a_published_file_gives_depth_mask_and_camera(
    folders: dict[str, Path], version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches depth of the mask's other side, a camera left as fractions of the picture, half
    precision, and results that change from call to call."""
    caplog.set_level(logging.INFO)
    backend = resolve_depth("moge", folders[version])
    torch.manual_seed(0)
    picture = torch.rand(3, HEIGHT, WIDTH)
    found = backend(picture)
    assert found.depth.shape == found.mask.shape == (HEIGHT, WIDTH)
    assert found.depth.dtype == found.intrinsics.dtype == torch.float32
    valid = torch.arange(WIDTH).expand(HEIGHT, WIDTH) >= WIDTH // 2
    assert torch.equal(found.mask, valid)
    assert (found.depth[~valid] == torch.inf).all()
    truth = tiny_moge.expected_depth(HEIGHT, WIDTH, version == "v2")
    torch.testing.assert_close(found.depth[valid], truth[valid], rtol=0.01, atol=0)
    lens = [*tiny_moge.expected_focal(HEIGHT, WIDTH), WIDTH / 2, HEIGHT / 2]
    assert found.intrinsics.tolist() == pytest.approx(lens, rel=0.01)
    again = backend(picture)
    assert torch.equal(again.depth, found.depth) and torch.equal(again.intrinsics, found.intrinsics)
    assert not torch.equal(backend(1 - picture).depth, found.depth), "blind"
    assert f"depth by {backend.name}" in caplog.text and "the hub" not in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
def test_version_1_keeps_its_unit_and_version_2_measures_in_metres(
    folders: dict[str, Path], version: str
) -> None:
    """Catches the published depth divided a second time, and paths about a point at 1 m."""
    backend = MoGeDepth(folders[version])
    estimate, divisor = in_scene_unit(backend(torch.rand(3, HEIGHT, WIDTH)), backend)
    assert backend.name == {"v1": "moge", "v2": "moge-2"}[version]
    middle = estimate.depth[estimate.mask].median().item()
    if version == "v1":
        assert divisor == 1 and middle > 1.05
    else:
        assert divisor == pytest.approx(tiny_moge.SCALE * 1.13, rel=0.03)
        assert middle == pytest.approx(1)


@pytest.mark.gpu
@pytest.mark.parametrize("version", VERSIONS)
def test_the_network_works_on_its_device(folders: dict[str, Path], version: str) -> None:
    """Catches a picture or a result on another device than the network's."""
    picture = torch.rand(3, HEIGHT, WIDTH)
    there, here = (MoGeDepth(folders[version], name)(picture) for name in ("cuda", "cpu"))
    assert there.depth.is_cuda and there.mask.is_cuda and there.intrinsics.is_cuda
    assert there.depth.dtype == torch.float32
    # Half precision there.
    torch.testing.assert_close(there.intrinsics.cpu(), here.intrinsics, rtol=0.02, atol=0)
    assert (there.mask.cpu() != here.mask).float().mean() < 0.03


def test_opencv_is_not_needed_and_nobody_takes_the_stand_in_for_it(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a demand for 150 MB that no network uses, and an empty cv2 left behind."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("moge", "cv2")]:
        monkeypatch.delitem(sys.modules, name)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cv2" else find(name)
    )
    load_moge(folders["v1"] / "moge" / "model.pt")
    assert "cv2" not in sys.modules


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda stored: stored["model"].pop("image_mean"), "1 missing: image_mean"),
        (lambda stored: stored["model"].update(more=torch.ones(1)), "1 unexpected: more"),
        (
            lambda stored: stored["model"].update(image_std=torch.ones(2)),
            "another shape: image_std",
        ),
        (lambda stored: stored["model_config"].update(encoder="vit"), "model_config"),
        (lambda stored: stored.pop("model_config"), "model_config and model"),
        (lambda stored: stored.update(model=Path("/")), "unreadable"),
    ],
)
def test_files_of_something_else_are_refused(
    folders: dict[str, Path], tmp_path: Path, damage: Any, words: str
) -> None:
    """Catches random layers in the place of missing tensors, and pickles that are executed."""
    stored = torch.load(folders["v1"] / "moge" / "model.pt", weights_only=True)
    damage(stored)
    torch.save(stored, tmp_path / "model.pt")
    with pytest.raises(InputError, match=words):
        load_moge(tmp_path / "model.pt")


def test_heads_that_version_2_does_not_use_are_passed_over(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a published file that is refused for a head that its configuration leaves out."""
    caplog.set_level(logging.INFO)
    stored = torch.load(folders["v2"] / "moge" / "model.pt", weights_only=True)
    stored["model"]["normal_head.extra"] = torch.ones(1)
    torch.save(stored, tmp_path / "model.pt")
    load_moge(tmp_path / "model.pt")
    assert "not used: normal_head.extra" in caplog.text


def test_the_hub_is_announced_and_its_failure_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a network access that nobody hears of, and a client's stack trace."""
    caplog.set_level(logging.INFO)
    # As a machine without a network has it; nothing is cached there.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="Ruicheng/moge-vitl on the hub.*--what moge"):
        resolve_depth("moge", tmp_path)
    assert f"no moge/model.pt in {tmp_path}: fetching Ruicheng/moge-vitl" in caplog.text
