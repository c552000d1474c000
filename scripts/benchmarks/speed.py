"""Fewer forwards: what the rungs of --speed and their switches cost, with nano on test worlds.

One clip of each still world, warped with its exact depth, along the six kinds of trajectories by
turns. Full size has 35 steps with guidance 1, and so have these clips; nano's own few steps without
guidance and with half of the noise are measured apart. The figures are means over the clips:

- PSNR to the clip of a 200-step Euler run with the same guidance, and to the world's own pictures,
  on all pixels, on those that the first frame shows, and on the hidden ones, without frame 0;
- camera error: the displacement, in pixels by root mean square, of the small camera motion that
  brings the world's picture onto the generated one (`camera_errors`), in every fourth frame;
- reprojection error: the median shift, in pixels, of 16x16 windows between the first frame as it is
  warped to the camera and the generated frame (`window_shifts`), in the same frames.

The parts `speed:rungs` and `speed:switches` are the default; `speed:trials` adds other steps and
thresholds to the rungs. `speed:distilled` compares the weights that `scripts/nano.py train distill`
made in `SPEED_DISTILLED` (outputs/nano/distill) with those that they came from, all without
guidance and from all of the noise; its reference are 35 steps of these.

Variables: `SPEED_WORLDS` (16), `SPEED_REFERENCE` (200 steps; 0: the exact rung is the reference),
`SPEED_SEEDS` (test, or validate), `SPEED_FOLDER` keeps the latents of each case, so that a run that
was stopped goes on.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import (
    buffer_latents,
    latent_encoder,
    pad_buffers,
)
from cosmos_predict1.diffusion.model.speed import FULL_RUN, RUNGS, SpeedConfig
from cosmos_predict1.diffusion.model.text import prompt_contexts
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan, sample_latents
from cosmos_predict1.diffusion.sampling.step_cache import CountedNetwork
from nano.clips.networks import Latents, Networks, Video
from nano.data.clips import world_trajectories
from nano.evaluation.inputs import Group
from nano.evaluation.report.tables import DISTILLED, UNDISTILLED
from nano.seeds import TEST, VALIDATE
from nano.worlds.film import film_pool
from nano.worlds.scene import World
from src.checkpoints import NANO_ASSETS
from src.evaluation.alignment import camera_errors, window_shifts
from src.evaluation.metrics import clip_errors

from .row import Row, check_parts

PARTS = ("rungs", "switches", "trials", "distilled")
# Steps and thresholds among which those of the rungs were chosen.
SAME_TRIALS = (21,)
FAST_TRIALS = ((18, 0.1), (17, 0.1), (16, 0.1), (15, 0.1), (16, 0.15))
# Kinds of trajectories, and the step between the frames whose camera is measured.
PATHS, STRIDE = 6, 4
# The guidance of the published program.
GUIDANCE = 1.0
SAME, FAST = RUNGS["same"], RUNGS["fast"]
# Latents, and the forwards that they took.
Sample: TypeAlias = tuple[Latents, int]


@dataclass(frozen=True)
class ClipInputs:
    """A world's clip along one trajectory, and the input of the generator."""

    group: Group
    first: Float[Tensor, "1 channel 1 lh lw"]
    warps: Float[Tensor, "1 warp_channel latent_frame lh lw"]

    @staticmethod
    def of(networks: Networks, seed: int, path: int) -> "ClipInputs":
        """Films a world and encodes the first frame and the warps."""
        config = networks.generator.network.config
        own = config.sampling
        poses = world_trajectories(seed, own.num_frames, False)[path : path + 1]
        size = (own.height, own.width)
        pool = film_pool([World(seed)], poses[None], size, networks.device)
        group = Group.of(pool, pool, False, networks.cache)
        encode, starts = latent_encoder(networks.tokenizer), group.starts
        warps = buffer_latents(encode, starts.image, starts.mask)
        first = encode(starts.first[:, :, None])
        return ClipInputs(group, first, pad_buffers(warps, config.warp_channels))

    def figures(self, video: Video) -> dict[str, float]:
        """Returns all figures of a generated clip but that of the reference."""
        pool, starts = self.group.pool, self.group.starts
        ours, truth, visible = video[:, :, 1:], self.group.truth[:, :, 1:], starts.mask[:, 1:]
        some = slice(STRIDE, None, STRIDE)
        frames, exact = video[0, :, some].transpose(0, 1), self.group.truth[0, :, some]
        warped, mask = (starts.image[0, some] + 1) / 2, starts.mask[0, some]
        depth, lens = pool.depth[0, 0, some].float(), pool.intrinsics[0]
        camera = camera_errors(frames, exact.transpose(0, 1), depth, lens, mask)
        return {
            "PSNR to the world, dB": clip_errors(ours, truth).psnr().item(),
            "of visible pixels, dB": clip_errors(ours, truth, visible).psnr().item(),
            "of hidden pixels, dB": clip_errors(ours, truth, ~visible).psnr().item(),
            "camera error, px": camera.mean().item(),
            "reprojection error, px": window_shifts(frames, warped, mask).median().item(),
        }


@dataclass(frozen=True)
class Case:
    """A row of the table: weights, and how they sample."""

    name: str
    networks: Networks
    plan: SamplingPlan


def rung_cases(networks: Networks, parts: Collection[str]) -> list[Case]:
    """Returns the cases of the rungs and of their switches; the first is the reference."""
    own = networks.generator.network.config.sampling

    def plan(full: int, guidance: float, steps: int | None, speed: SpeedConfig) -> SamplingPlan:
        count, shortcuts = speed.choose(full, steps, guidance)
        return SamplingPlan(
            num_steps=count, guidance=guidance, fps=own.fps, seeds=(0,), shortcuts=shortcuts
        )

    steps = int(os.environ.get("SPEED_REFERENCE", "200"))
    interval, stop = SAME.shortcuts.guidance_interval, SAME.shortcuts.sigma_stop
    assert interval is not None, SAME
    rungs: dict[str, tuple[int | None, SpeedConfig]] = {
        f"--speed {speed}": (None, SpeedConfig(speed=speed)) for speed in RUNGS
    }
    if steps:
        rungs = {f"{steps} Euler steps": (steps, SpeedConfig())} | rungs
    switches: dict[str, tuple[int | None, SpeedConfig]] = {
        "--guidance_interval {:g} {:g}".format(*interval): (
            None,
            SpeedConfig(guidance_interval=interval),
        ),
        f"--sigma_stop {stop:g}": (None, SpeedConfig(sigma_stop=stop)),
        f"--num_steps {SAME.num_steps}": (SAME.num_steps, SpeedConfig()),
        f"--num_steps {SAME.num_steps} --solver multistep": (
            SAME.num_steps,
            SpeedConfig(solver="multistep"),
        ),
        f"--step_cache {FAST.shortcuts.step_cache:g}": (
            None,
            SpeedConfig(step_cache=FAST.shortcuts.step_cache),
        ),
        "--speed fast --step_cache 0": (None, SpeedConfig(speed="fast", step_cache=0.0)),
    }
    trials = {
        f"--speed same --num_steps {count}": (count, SpeedConfig(speed="same"))
        for count in SAME_TRIALS
    } | {
        f"--speed fast --num_steps {count} --step_cache {threshold:g}": (
            count,
            SpeedConfig(speed="fast", step_cache=threshold),
        )
        for count, threshold in FAST_TRIALS
    }
    chosen = rungs | (switches if "switches" in parts else {})
    chosen |= trials if "trials" in parts else {}
    # As the published weights sample, with all of the noise.
    found = {
        name: replace(plan(FULL_RUN, GUIDANCE, count, speed), initial_noise=1.0)
        for name, (count, speed) in chosen.items()
    }
    for speed in RUNGS:
        name = f"nano's own {own.num_steps} steps, --speed {speed}"
        found[name] = plan(own.num_steps, own.guidance, None, SpeedConfig(speed=speed))
    return [Case(name, networks, sampling) for name, sampling in found.items()]


def distilled_cases(device: torch.device) -> list[Case]:
    """Returns the cases of distilled weights and, first, of those that they came from."""
    folder, cases = Path(os.environ.get("SPEED_DISTILLED", "outputs/nano/distill")), list[Case]()
    for name, text in DISTILLED.items():
        generator = folder / name if name not in UNDISTILLED else None
        networks = Networks(NANO_ASSETS, device, generator=generator)
        own = networks.generator.network.config.sampling
        steps = UNDISTILLED.get(name, own.num_steps)
        plan = SamplingPlan(
            num_steps=steps, guidance=0.0, fps=own.fps, seeds=(0,), initial_noise=1.0
        )
        cases.append(Case(text, networks, plan))
    return cases


def sampled(case: Case, clips: Sequence[ClipInputs]) -> list[Sample]:
    """Returns the latents of each clip, and its forwards."""
    # A step cache decides for a whole batch; on a CPU, a batch is no faster.
    alone = case.plan.shortcuts.step_cache > 0 or case.networks.device.type == "cpu"
    parts = [[clip] for clip in clips] if alone else [list(clips)]
    return [sample for part in parts for sample in _batch(case, part)]


def _batch(case: Case, clips: Sequence[ClipInputs]) -> list[Sample]:
    """Samples clips as one batch, or reads them from the folder."""
    seeds = tuple(seed for clip in clips for seed in clip.group.starts.seeds)
    networks, folder = case.networks, os.environ.get("SPEED_FOLDER")
    plan = replace(case.plan, seeds=seeds)
    name = hashlib.sha256(repr((case.name, plan)).encode()).hexdigest()[:16]
    path = None if folder is None else Path(folder) / f"{name}.pt"
    if path is not None and path.is_file():
        return torch.load(path, weights_only=True)
    network = CountedNetwork(networks.generator.network)
    first, warps = (
        torch.cat(part) for part in zip(*((c.first, c.warps) for c in clips), strict=True)
    )
    texts = prompt_contexts(networks.generator.network.config, None)
    latents = sample_latents(network, first, warps, texts=texts, plan=plan)
    found = [(part.clone(), network.forwards) for part in latents.split(1)]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, path)
    return found


@torch.inference_mode()
def run(device: torch.device, parts: Sequence[str] = PARTS[:2]) -> Iterator[Row]:
    """Yields the figures of each case, and those of the worlds' pictures after the tokenizer."""
    check_parts(parts, PARTS)
    networks = Networks(NANO_ASSETS, device)
    count = int(os.environ.get("SPEED_WORLDS", "16"))
    ranges = VALIDATE if os.environ.get("SPEED_SEEDS") == "validate" else TEST
    seeds = ranges.seeds(count, False)
    clips = [ClipInputs.of(networks, seed, number % PATHS) for number, seed in enumerate(seeds)]
    coded = [clip.figures(networks.coded(clip.group.truth)) for clip in clips]
    yield from _rows("the worlds after the tokenizer", coded)
    tables = [distilled_cases(device)] if "distilled" in parts else []
    if {*parts} - {"distilled"}:
        tables.append(rung_cases(networks, parts))
    for cases in tables:
        yield from _table(networks, clips, cases)


def _table(networks: Networks, clips: Sequence[ClipInputs], cases: Sequence[Case]) -> Iterator[Row]:
    """Yields the figures of cases; the clips of the first are the reference."""
    references: list[Video] = []
    for case in cases:
        made = sampled(case, clips)
        videos = [networks.decode(latents) for latents, _ in made]
        references, figures = references or videos, []
        for clip, video, reference, (_, forwards) in zip(
            clips, videos, references, made, strict=True
        ):
            near = clip_errors(video[:, :, 1:], reference[:, :, 1:]).psnr().item()
            row = {"forwards": float(forwards), "PSNR to the reference, dB": near}
            figures.append(row | clip.figures(video))
        yield from _rows(case.name, figures)


def _rows(name: str, figures: list[dict[str, float]]) -> Iterator[Row]:
    """Yields the mean of each figure over the clips that have it."""
    for key in figures[0]:
        values = torch.tensor([row[key] for row in figures])
        what, _, unit = key.partition(", ")
        yield Row(f"{name}: {what}", values[values.isfinite()].mean().item(), unit)
