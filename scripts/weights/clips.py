"""Checks that need clips: both precisions of rays and head, pose tables, layout of tar parts."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from src.evaluation.metrics import psnr
from src.io.clip.cameras import read_poses
from src.io.clip.packed import open_root
from src.io.clip.paths import ClipPaths
from src.io.video.video import video_header
from src.models.data.dataset import ClipDataset
from src.models.data.example import unit_color
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig
from src.models.recon.decoder import Precision
from src.models.recon.scene_decoder import SceneDecoder, cast_trunk, floating_type
from src.models.recon.weights import load_decoder
from src.rendering.rasterize import rasterize
from src.runtime import InputError
from src.tokenizer.loading import load_statistics, load_tokenizer

from .findings import Finding

PARTS = ("rgb", "pose", "intrinsics")
# Trajectories and frames that are rendered of a scene.
MOST_TRAJECTORIES, RENDERED = 6, 4


def check_clips(root: Path, parts: Mapping[str, Path], device: torch.device) -> Iterator[Finding]:
    """Pose tables of the clips below `root`; PSNR of the static decoder in both precisions."""
    trajectories = sorted(path.name for path in root.iterdir() if (path / "rgb").is_dir())
    if not trajectories:
        yield Finding("wrong", str(root), "no <trajectory>/rgb: not a folder of clips")
        return
    sound = True
    for finding in _tables(root, trajectories):
        sound = sound and finding.state != "wrong"
        yield finding
    if sound and {"tokenizer", "decoder_static"} <= parts.keys():
        yield from _precisions(root, trajectories, parts, device)
    elif sound:
        yield Finding("missing", str(root), "PSNR needs the tokenizer and the static decoder")


def check_tars(pattern: str) -> Iterator[Finding]:
    """Whether tar parts hold clips in the layout that the training reads."""
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
    """Pose tables that have other than as many rows as the video has frames."""
    count = 0
    for name in trajectories:
        for video in sorted((root / name / "rgb").glob("*.mp4")):
            paths = ClipPaths(root, name, video.stem)
            frames, rows = video_header(video).num_frames, len(read_poses(paths.pose))
            count += 1
            if rows != frames:
                text = f"{rows} poses for {frames} frames; only equal numbers are read here"
                yield Finding("wrong", str(paths.pose), text)
    yield Finding("note", str(root), f"{count} clips of {len(trajectories)} trajectories looked at")


def _precisions(
    root: Path, trajectories: list[str], parts: Mapping[str, Path], device: torch.device
) -> Iterator[Finding]:
    """PSNR of the first scene with rays and head in float32, and as published in bfloat16."""
    chosen = trajectories[:MOST_TRAJECTORIES]
    first = next(iter(sorted((root / chosen[0] / "rgb").glob("*.mp4"))))
    info = video_header(first)
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
    color = example.targets.color
    if color is None:
        raise InputError(root, "targets without pictures", "clips with rgb")
    tokenizer = load_tokenizer(parts["tokenizer"], device, floating_type("auto", device))
    model = load_decoder(parts["decoder_static"], device=device)
    names: tuple[Precision, ...] = ("fp32", "parity")
    for precision in names:
        model.config = replace(model.config, precision=precision)
        # The trunk is the published one in both.
        decoder = SceneDecoder(cast_trunk(model, torch.bfloat16), tokenizer)
        with torch.inference_mode():
            gaussians = decoder.gaussians(decoder.prepare(example))
            rendered = rasterize(
                gaussians.to(torch.float32), example.targets.cameras.to(device)
            ).color
        ratio = psnr(rendered, unit_color(color).to(device)).mean()
        kinds = {"fp32": "rays and head in float32", "parity": "as published, in bfloat16"}
        text = f"{kinds[precision]}: {float(ratio):.2f} dB on scene {example.key}"
        yield Finding("note", str(root), text)
