"""Checks of clips: both precisions of rays and head, pose tables, the layout of tar parts."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from src.evaluation.metrics import psnr
from src.io.cameras.frame_table import read_poses
from src.io.clip.clip import ClipPaths
from src.io.clip.packed import open_root
from src.io.video.video import video_header
from src.models.data.dataset import ClipDataset
from src.models.data.example import unit_color
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig
from src.models.recon.decoder import Precision, load_decoder
from src.models.recon.scene_decoder import SceneDecoder, cast_trunk, floating_type
from src.rendering.rasterize import rasterize
from src.runtime import InputError
from src.tokenizer.loading import load_statistics, load_tokenizer

from .networks import Finding

PARTS = ("rgb", "pose", "intrinsics")
# Trajectories of a scene, and frames of each, that are rendered.
MOST_TRAJECTORIES, RENDERED = 6, 4


def check_clips(root: Path, parts: Mapping[str, Path], device: torch.device) -> Iterator[Finding]:
    """Checks the pose tables of clips; notes the PSNR of the static decoder in both precisions."""
    trajectories = sorted(path.name for path in root.iterdir() if (path / "rgb").is_dir())
    if not trajectories:
        yield Finding("wrong", root, "no <trajectory>/rgb: not a folder of clips")
        return
    findings = list(_tables(root, trajectories))
    yield from findings
    if any(finding.state == "wrong" for finding in findings):
        return
    if {"tokenizer", "decoder_static"} <= parts.keys():
        yield from _precisions(root, trajectories, parts, device)
    else:
        yield Finding("missing", root, "PSNR needs the tokenizer and the static decoder")


def check_tars(pattern: str) -> Iterator[Finding]:
    """Checks that tar parts hold clips in the layout that the training reads."""
    root = open_root(pattern)
    trajectories = sorted(path.name for path in root.iterdir())
    if not trajectories:
        yield Finding("wrong", pattern, "no trajectory folders in the tar parts")
    for name in trajectories:
        held = sorted(path.name for path in (root / name).iterdir())
        lacking = [part for part in (*PARTS, "latent") if part not in held]
        clips = len(list((root / name / "rgb").iterdir())) if "rgb" in held else 0
        text = f"trajectory {name}: {', '.join(held)}; {clips} clips"
        if lacking:
            text += f"; without {', '.join(lacking)}"
        yield Finding("wrong" if lacking else "ok", pattern, text)


def _tables(root: Path, trajectories: list[str]) -> Iterator[Finding]:
    """Yields the pose tables whose number of rows is not the number of frames."""
    count = 0
    for name in trajectories:
        for video in sorted((root / name / "rgb").glob("*.mp4")):
            paths = ClipPaths(root, name, video.stem)
            frames, rows = video_header(video).num_frames, len(read_poses(paths.pose))
            count += 1
            if rows != frames:
                text = f"{rows} poses for {frames} frames; only equal numbers are read here"
                yield Finding("wrong", paths.pose, text)
    yield Finding("note", root, f"{count} clips of {len(trajectories)} trajectories checked")


def _precisions(
    root: Path, trajectories: list[str], parts: Mapping[str, Path], device: torch.device
) -> Iterator[Finding]:
    """Notes the PSNR of the first scene with rays and head in float32, and in bfloat16."""
    chosen = trajectories[:MOST_TRAJECTORIES]
    info = video_header(min((root / chosen[0] / "rgb").glob("*.mp4")))
    size = (info.height // 16 * 16, info.width // 16 * 16)
    frames = (info.num_frames - 1) // 8 * 8 + 1
    sampling = ExampleSamplingConfig(
        num_input_frames=frames,
        max_trajectories=len(chosen),
        trajectory_sampling="fixed",
        fixed_trajectories=chosen,
        target_stride=max(frames // RENDERED, 1),
    )
    statistics = load_statistics(parts["tokenizer"])
    spec = DatasetSpec(root, is_static=True)
    dataset = ClipDataset(spec, sampling, size, statistics=statistics, reading=ReadingConfig())
    example = dataset[0]
    color, cameras = example.targets.color, example.targets.cameras.to(device)
    if color is None:
        raise InputError(root, "targets without pictures", "clips with rgb")
    tokenizer = load_tokenizer(parts["tokenizer"], device, floating_type("auto", device))
    model = load_decoder(parts["decoder_static"], device=device)
    shown: dict[Precision, str] = {
        "fp32": "rays and head in float32",
        "parity": "as published, in bfloat16",
    }
    for precision, text in shown.items():
        model.config = replace(model.config, precision=precision)
        # The trunk has the published type in both.
        decoder = SceneDecoder(cast_trunk(model, torch.bfloat16), tokenizer)
        with torch.inference_mode():
            gaussians = decoder.gaussians(decoder.prepare(example))
            rendered = rasterize(gaussians.to(torch.float32), cameras).color
        ratio = psnr(rendered, unit_color(color).to(device)).mean()
        yield Finding("note", root, f"{text}: {float(ratio):.2f} dB on scene {example.key}")
