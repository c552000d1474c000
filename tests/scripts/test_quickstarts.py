"""The decisions of the quickstart, as tables."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.gaussians import Gaussians
from src.io.json_object import write_json
from src.io.ply import write_ply
from src.runtime import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from downloads.catalogue import DEFAULT, GROUPS, gigabytes  # noqa: E402
from quickstarts.full import (  # noqa: E402
    DECODER_GIB,
    PEAKS,
    check_disk,
    check_memory,
    choose_peak,
    downloads,
)
from quickstarts.inputs import cksum, find_inputs, folder_name  # noqa: E402
from quickstarts.request import parse_request  # noqa: E402
from quickstarts.run import make_pages  # noqa: E402


@pytest.mark.parametrize(
    ("free", "flags"),
    [
        # H200, A100 80 GB, a card of 32 GB, one of 24, of 16, of 12 GB.
        (139.0, ()),
        (78.5, ()),
        (31.0, ()),
        (27.5, ()),
        (27.4, ("--offload_tokenizer",)),
        (24.2, ("--offload_tokenizer",)),
        (23.5, ("--offload_diffusion_transformer",)),
        (15.6, ("--offload_diffusion_transformer",)),
        (11.4, ("--offload_diffusion_transformer",)),
        (10.7, ("--offload_diffusion_transformer",)),
    ],
)
def test_the_memory_of_the_gpu_decides_what_leaves_it(free: float, flags: tuple[str, ...]) -> None:
    """A run that ends without memory, or that is slower than it has to be."""
    assert choose_peak(free).flags == flags


@pytest.mark.parametrize("free", [10.6, 7.6, 0.0])
def test_a_gpu_that_is_too_small_is_told_what_is_needed(free: float) -> None:
    """Minutes of loading before the GPU turns out to be too small."""
    with pytest.raises(InputError, match=rf"{free} GiB free.*10\.7 GiB.*10\.2 measured"):
        choose_peak(free)


def test_the_figures_are_those_that_were_measured() -> None:
    """A table of peaks that drifts away from what was measured."""
    text = (REPOSITORY / "docs/performance.md").read_text()
    measured = dict(re.findall(r"\| `?([a-z_\-]+)`? \| ([\d.]+) GiB", text))
    for peak in PEAKS:
        assert float(measured[" ".join(peak.flags) or "none"]) == peak.gib
    assert f"| Peak memory | {DECODER_GIB} GiB |" in text
    # From the largest on: the first that fits is taken.
    assert [peak.gib for peak in PEAKS] == sorted((peak.gib for peak in PEAKS), reverse=True)


STATIC = ("generator", "tokenizer", "decoder_static", "moge")


@pytest.mark.parametrize(
    ("needed", "found", "needs_text", "names"),
    [
        (STATIC, (), True, ["gen3c", "tokenizer", "lyra", "t5", "moge"]),
        (STATIC, (), False, ["gen3c", "tokenizer", "lyra", "moge"]),
        (STATIC, STATIC, True, ["t5"]),
        (STATIC, (*STATIC, "t5"), True, []),
        (STATIC, ("generator", "tokenizer"), False, ["lyra", "moge"]),
        (STATIC[:3], STATIC[1:], False, ["gen3c"]),
        (("decoder_static", "decoder_dynamic"), ("decoder_static",), False, ["lyra"]),
    ],
)
def test_what_is_missing_is_downloaded_and_no_more(
    needed: tuple[str, ...], found: tuple[str, ...], needs_text: bool, names: list[str]
) -> None:
    """45 GB for nothing, or a run that stops for want of a part that nobody has fetched."""
    assert downloads(needed, found, needs_text) == names


def test_the_memory_of_the_machine_is_looked_at() -> None:
    """A run that is killed by the system after a download of 60 GB."""
    plain, streamed = PEAKS[0], PEAKS[-1]
    assert check_memory(8.0, plain, makes_text=False) == 0
    assert check_memory(64.0, streamed, makes_text=False) == 13.5
    assert check_memory(64.0, plain, makes_text=True) == 2.7
    with pytest.raises(InputError, match="2.7 GiB for T5.*--disable_prompt_encoder"):
        check_memory(2.0, plain, makes_text=True)
    with pytest.raises(InputError, match="13.5 GiB for the transformer"):
        check_memory(12.0, streamed, makes_text=False)


def test_the_disk_is_looked_at() -> None:
    """A full disk after an hour of downloading."""
    assert check_disk(100.0, "here", 61.6) == 63.6
    with pytest.raises(InputError, match="here: got 60.0 GB free, expected 63.6 GB: 61.6 to down"):
        check_disk(60.0, "here", 61.6)


def test_what_exists_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run=1/picture.jpg` taken for a setting, and the demo made instead."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run=1").mkdir()
    (tmp_path / "run=1/a=b.jpg").touch()
    for word in ("run=1", "run=1/a=b.jpg"):
        request = parse_request([word, "seed=2", "--output", "o=1"], "")
        assert request.input == tmp_path / word and request.settings == ("seed=2",)
        assert request.output == tmp_path / "o=1"
    assert parse_request(["rune=1"], "").settings == ("rune=1",)
    assert parse_request([], "").input == REPOSITORY / "assets/demo/garden.jpg"


def test_links_keep_their_names(tmp_path: Path) -> None:
    """A clip that is called after what a link leads to."""
    (tmp_path / "0815.jpg").touch()
    (tmp_path / "kitchen.jpg").symlink_to("0815.jpg")
    assert parse_request([str(tmp_path / "kitchen.jpg")], "").input.name == "kitchen.jpg"


def test_every_file_of_a_folder_is_taken_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of a type that the readers read, left out; or one left out without a word."""
    monkeypatch.setattr("quickstarts.inputs.can_read_heic", lambda: False)
    for name in (
        "a.JPG",
        "b.avif",
        "c.tif",
        "d.bmp",
        "e.webp",
        "f.mov",
        "g.M4V",
        "h.heic",
        "i",
        ".j",
    ):
        (tmp_path / name).touch()
    (tmp_path / "k").mkdir()
    (tmp_path / "l").symlink_to("nowhere")
    # No pictures, but meant as such: they fail later, and are on the list of what failed.
    (tmp_path / "m.png").mkdir()
    (tmp_path / "n.png").symlink_to("nowhere")
    found = find_inputs(tmp_path)
    named = ["a.JPG", "b.avif", "c.tif", "d.bmp", "e.webp", "m.png", "n.png"]
    assert [path.name for path in found.pictures] == named
    assert [path.name for path in found.videos] == ["f.mov", "g.M4V"]
    reasons = {path.name: reason for path, reason in found.left_out}
    assert reasons.keys() == {"h.heic", "i", "k", "l"}
    assert f"{sys.executable} -m pip install pillow-heif" in reasons["h.heic"]
    assert "HEIC" in reasons["h.heic"] and reasons["k"] == "a folder"


@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000])
def test_checksums_are_those_of_cksum(size: int) -> None:
    """Results of an earlier version that are not found again, and made once more."""
    data = os.urandom(size)
    printed = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout
    assert cksum([data[:9], data[9:]]) == int(printed.split()[0])


def test_names_of_results_are_plain(tmp_path: Path) -> None:
    """A name that a shell or a setting reads otherwise; other inputs in one folder."""
    path = tmp_path / "caf\u00e9 #1 ${x}.tar.jpg"
    path.write_bytes(b"1")
    name = folder_name(path, [path], "1")
    assert re.fullmatch(r"caf____1___x_\.tar_\d+", name)
    assert name != folder_name(path, [path], "2")
    path.write_bytes(b"2")
    assert name != folder_name(path, [path], "1")


def results(tree: Path, *keys: str) -> None:
    """The scenes of a folder of results, which a page needs."""
    packed = torch.rand(50, 14, generator=torch.Generator().manual_seed(2)) + 0.1
    packed[:, 3] /= 2
    packed[:, 7:11] = torch.eye(4)[0]
    for index, key in enumerate(keys):
        write_ply(tree / f"gaussians_orig/gaussians_{index}.ply", Gaussians.from_packed(packed))
        write_json(tree / f"meta/sample_{index}.json", {"file_name": [key]})


def test_every_input_has_its_page(tmp_path: Path) -> None:
    """One page for all pictures of a folder, a page for each moment, or the wrong order."""
    pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
    results(tmp_path / "one/scene/paths/lyra_static_demo", "photo")
    results(tmp_path / "album/scene/paths/lyra_static_demo", "a", "b")
    for time in (0, 8, 16):
        results(tmp_path / f"film/scene/paths/lyra_dynamic_demo/{time}", "film")
    (tmp_path / "none").mkdir()
    inputs = [("one", False), ("album", True), ("film", False), ("none", False)]
    pages = make_pages((tmp_path / name, several) for name, several in inputs)
    names = ["one/page.html", "album/page_a.html", "album/page_b.html", "film/page.html"]
    assert pages.written == [tmp_path / name for name in names]
    assert pages.reason is None and not pages.failed
    assert [*pages.lines()] == ["", *(f"open {path} in a browser" for path in pages.written)]
    counts = [path.read_text().count('"count":50') for path in pages.written]
    assert counts == [1, 1, 1, 3]


def test_results_of_other_settings_have_another_page(tmp_path: Path) -> None:
    """The page of one set of camera paths in place of the other's."""
    pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
    for paths in ("paths_0", "paths_1"):
        results(tmp_path / f"scene/{paths}/lyra_static_demo", "photo")
    # Made without a PLY.
    results(tmp_path / "scene/paths_2/lyra_static_demo", "photo")
    (tmp_path / "scene/paths_2/lyra_static_demo/gaussians_orig/gaussians_0.ply").unlink()
    written = make_pages([(tmp_path, False)]).written
    assert written == [tmp_path / "page_1.html", tmp_path / "page_2.html"]


def test_without_a_page_the_scenes_are_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quickstart that fails for want of an extra, or says nothing of it; a lost error."""
    results(tmp_path / "scene/paths/lyra_static_demo", "photo")
    if importlib.util.find_spec("gaussforge") is not None:
        (tmp_path / "page.html").mkdir()
        pages = make_pages([(tmp_path, False)])
        assert pages.failed and "page.html: got no file" in "\n".join(pages.lines())
        (tmp_path / "page.html").rmdir()
    monkeypatch.setattr("quickstarts.run.importlib.util.find_spec", lambda name: None)
    pages = make_pages([(tmp_path, False)])
    assert not pages.failed and not pages.written
    command = f"{sys.executable} -m pip install 'open-lyra[viewer]'"
    assert command in "\n".join(pages.lines()) and not (tmp_path / "page.html").exists()


def test_readme_says_what_the_catalogue_says() -> None:
    """Sizes of downloads that README still has from an earlier table."""
    text = (REPOSITORY / "README.md").read_text()
    assert f"--what {' '.join(DEFAULT)}    # {gigabytes(DEFAULT):.1f} GB" in text
    assert f"| `gen3c`, the generator | {gigabytes(['gen3c']):.1f} GB" in text
    small = gigabytes(["tokenizer", "lyra", "moge"])
    assert f"| `tokenizer`, `lyra`, `moge` | {small:.1f} GB" in text
    assert f"| `t5`, the text encoder | {gigabytes(['t5']):.1f} GB" in text
    assert f"the download shrinks to {gigabytes(DEFAULT) - gigabytes(['t5']):.1f} GB" in text
    assert f"tokenizer and LPIPS, {gigabytes(GROUPS['training']):.1f} GB" in text
    for peak in PEAKS:
        assert f"{peak.gib:.1f} GiB" in text
