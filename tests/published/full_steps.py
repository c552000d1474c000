"""The steps of full_size.py: commands, and what has to be there after each."""

import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData
from published.layout import LayoutSize
from published.measured import Measurements, Step
from published.scenes import ClipsSize, write_picture, write_vipe

from src.io.clip.clip import ClipPaths, open_clip
from src.io.video.video import video_info

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATOR = "cosmos_predict1/diffusion/inference"
VIEWS = ("0", "1", "2", "3", "4", "5")
TIMES = (0, 60, 120)
# Of ViPE's result, which is resized when it is read.
VIDEO_SIZE = (352, 640)


@dataclass(frozen=True)
class Run:
    """What is run on the stand-ins of `folder`, and how."""

    folder: Path
    size: LayoutSize
    num_steps: int
    depth: str
    generator: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def clips(self, kind: str) -> Path:
        return self.outputs / f"clips_{kind}"

    def results(self, kind: str) -> Path:
        return self.outputs / f"lyra_{kind}"


def run_steps(run: Run, into: Measurements, only: Collection[str] | None, longest: float) -> int:
    """Run all steps, or those of `only`, within `longest` seconds; returns how many failed."""
    _prepare_inputs(run)
    begun = time.monotonic()
    needs = {"sample_static": "sdg_static", "sample_dynamic": "sdg_dynamic"}
    bad: set[str] = set()
    for step in _steps(run):
        if only is not None and step.name not in only:
            continue
        left = longest - (time.monotonic() - begun)
        if needs.get(step.name) in bad or left <= 0:
            sys.stderr.write(f"{step.name}: left out\n")
            bad.add(step.name)
        elif not into.run(step, left):
            bad.add(step.name)
    sys.stderr.write(f"all steps: {time.monotonic() - begun:.0f} s, {len(bad)} failed\n")
    return len(bad)


def _prepare_inputs(run: Run) -> None:
    scene = run.size.scene
    if not (run.folder / "photo.png").is_file():
        write_picture(run.folder / "photo.png", scene)
    if not (run.folder / "RESULT" / "intrinsics").is_dir():
        height, width = min(VIDEO_SIZE, (scene.height, scene.width))
        write_vipe(run.folder / "RESULT", "CLIP", ClipsSize(height, width, scene.frames))


def _steps(run: Run) -> list[Step]:
    steps = [
        _generator(run, "static", "photo"),
        _sample(run, "static"),
        _generator(run, "dynamic", "CLIP"),
        _sample(run, "dynamic"),
    ]
    program = REPOSITORY / "scripts" / "check_weights.py"
    if program.is_file():
        command = [sys.executable, str(program), str(run.folder / "checkpoints")]
        steps.insert(0, Step("check_weights", command))
    return steps


def _generator(run: Run, kind: str, key: str) -> Step:
    name = "gen3c_single_image_sdg.py" if kind == "static" else "gen3c_dynamic_sdg.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1"]
    command += [f"{GENERATOR}/{name}", "--checkpoint_dir", str(run.folder / "checkpoints")]
    command += ["--num_gpus", "1", "--video_save_folder", str(run.clips(kind))]
    command += ["--foreground_masking", "--multi_trajectory", "--num_steps", str(run.num_steps)]
    if kind == "static":
        command += ["--input_image_path", str(run.folder / "photo.png"), "--depth", run.depth]
    else:
        command += ["--vipe_path", str(run.folder / "RESULT" / "rgb" / "CLIP.mp4")]
    command += run.generator
    return Step(f"sdg_{kind}", command, lambda: _check_clips(run, kind, key))


def _sample(run: Run, kind: str) -> Step:
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["sample.py", "--config", f"configs/demo/lyra_{kind}.yaml"]
    command += [f"dataset_root={run.clips(kind)}", f"out_dir_inference={run.results(kind)}"]
    command += [f"ckpt_path={run.folder}/checkpoints/Lyra/lyra_{kind}.pt"]
    tokenizer = run.folder / "checkpoints" / "Cosmos-Tokenize1-CV8x8x8-720p"
    command += [f"vae_path={tokenizer}"]
    scene = run.size.scene
    if (scene.height, scene.width) != (704, 1280):
        command += [f"model.img_size=[{scene.height},{scene.width}]"]
    command += run.sample
    return Step(f"sample_{kind}", command, lambda: _check_scenes(run, kind))


def _check_clips(run: Run, kind: str, key: str) -> Mapping[str, object]:
    """Six clips of the size, with finite latents that are neither nothing nor enormous."""
    scene = run.size.scene
    deviations = []
    for name in VIEWS:
        paths = ClipPaths(run.clips(kind), name, key)
        clip = open_clip(paths)
        size = (clip.num_frames, clip.info.height, clip.info.width)
        assert size == (scene.frames, scene.height, scene.width), f"{paths.rgb}: {size}"
        latents = clip.latents()
        wanted = (16, (scene.frames - 1) // 8 + 1, scene.height // 8, scene.width // 8)
        assert latents.shape == wanted, f"{paths.latent}: {list(latents.shape)}"
        assert bool(torch.isfinite(latents).all()), f"{paths.latent}: not finite"
        deviations.append(round(float(latents.std()), 3))
        assert 0.05 < deviations[-1] < 10, f"{paths.latent}: deviation {deviations[-1]}"
    return {"latents_std": deviations, "depth": open_clip(paths).meta().get("depth")}


def _check_scenes(run: Run, kind: str) -> Mapping[str, object]:
    """Finite Gaussians and whole videos of every time."""
    root = run.results(kind) / "static_view_indices_fixed_5_0_1_2_3_4" / f"lyra_{kind}_demo"
    folders = [root] if kind == "static" else [root / str(moment) for moment in TIMES]
    counts = []
    for folder in folders:
        path = folder / "gaussians_orig" / "gaussians_0.ply"
        vertices = PlyData.read(str(path))["vertex"].data
        assert len(vertices) > 0, f"{path}: no Gaussian"
        for name in vertices.dtype.names:
            assert np.isfinite(vertices[name]).all(), f"{path}: {name} is not finite"
        counts.append(len(vertices))
        for name in ("main_gaussians_renderings/rgb_0.mp4", "full_output/sample_0.mp4"):
            assert video_info(folder / name).num_frames > 100, folder / name
    return {"gaussians": counts}
