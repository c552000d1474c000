"""What the check of weights says of clips: figures of both precisions, pose tables, tar parts."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scene import FRAMES, TRAJECTORIES, tiny_decoder, write_tiny_input
from weights.clips import check_clips, check_tars

from src.models.recon.decoder import save_decoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny clips, their tokenizer and a decoder that puts something in front of the camera."""
    made = write_tiny_input(tmp_path_factory.mktemp("clips"), scenes=1)
    save_decoder(tiny_decoder(), made.folder / "decoder_static")
    return made.folder


def test_both_precisions_of_a_clip_have_figures(clips: Path) -> None:
    """Catches a comparison of a precision with itself, and figures of nothing."""
    parts = {"tokenizer": clips / "tokenizer", "decoder_static": clips / "decoder_static"}
    lines = [str(finding) for finding in check_clips(clips / "clips", parts, CPU)]
    figures = [line.split(": ")[-1].split(" dB")[0] for line in lines if " dB on scene" in line]
    assert len(figures) == 2 and "float32" in lines[-2] and "bfloat16" in lines[-1]
    exact, rounded = map(float, figures)
    assert 3 < exact < 60 and exact != rounded and abs(exact - rounded) < 3


def test_pose_tables_with_more_rows_than_frames_are_named(clips: Path, tmp_path: Path) -> None:
    """Catches clips of published kind that the reader refuses without a word beforehand."""
    shutil.copytree(clips / "clips", tmp_path / "clips")
    (path,) = (tmp_path / "clips/2/pose").iterdir()
    with np.load(path) as table:
        arrays = dict(table)
    arrays = {name: np.concatenate([part, part[-1:]]) for name, part in arrays.items()}
    arrays["inds"][-1] += 1
    np.savez(path, **arrays)
    findings = [f for f in check_clips(tmp_path / "clips", {}, CPU) if f.state == "wrong"]
    assert len(findings) == 1 and findings[0].where == path
    assert f"{FRAMES + 1} poses for {FRAMES} frames" in findings[0].text


@pytest.mark.parametrize("left_out", ["", "latent"])
def test_the_layout_of_tar_parts_is_told(clips: Path, tmp_path: Path, left_out: str) -> None:
    """Catches tar parts of another layout that a training would stumble over."""
    with tarfile.open(tmp_path / "part-0.tar", "w") as part:
        for path in sorted((clips / "clips").rglob("*")):
            if path.is_file() and path.parent.name != left_out:
                part.add(path, str(path.relative_to(clips / "clips")))
    findings = list(check_tars(str(tmp_path / "part-*.tar")))
    assert len(findings) == len(TRAJECTORIES)
    assert {finding.state for finding in findings} == {"wrong" if left_out else "ok"}
    assert all(("without latent" in finding.text) == bool(left_out) for finding in findings)
