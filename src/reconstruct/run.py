"""All scenes of a data set, shared between the processes of a launch; finished ones are left out.

The processes exchange nothing: scene number i belongs to process i modulo their number.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from ..gaussians import Gaussians
from ..models.data.example import Example
from ..models.recon.decoder import DecoderConfig
from ..models.recon.scene_decoder import SceneDecoder
from ..rendering.options import RasterizeOptions
from ..rendering.rasterize import Backend
from ..runtime import InputError, get_logger, rank, seed_everything
from ..tokenizer.loading import load_statistics
from .background import BackgroundWriter
from .claims import Claims, remove_leftovers
from .finished import FinishedScenes
from .outputs import OutputConfig, OutputTree
from .pictures.grid import write_grids
from .references import find_references
from .results import DecodedScene, SceneResults
from .scenes import Scenes, ScenesConfig
from .weights import WeightsConfig, find_decoder, find_tokenizer, load_scene_decoder

LOGGER = get_logger(__name__)
SEED = 0
# A process that has finished its scenes may wait this long for the others.
LONGEST_WAIT = timedelta(days=7)


@dataclass
class ReconstructConfig:
    """Everything that a run needs, from the parts that it is made of."""

    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    render: RasterizeOptions = field(default_factory=RasterizeOptions)
    rasterizer: Backend = "auto"
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    device: Literal["auto", "cpu", "cuda"] = "auto"


def reconstruct(config: ReconstructConfig) -> None:
    """Decode, render and write all scenes that are not finished.

    Raises:
        InputError: whatever a user gave wrongly; files of finished scenes stay.
    """
    from accelerate import PartialState

    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", config.device, "cpu or auto: no CUDA device answers")
    # Processes without a GPU know of each other only if that is said.
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    device = state.device or torch.device("cpu")
    seed_everything(SEED)
    scenes = Scenes(config.scenes, load_statistics(find_tokenizer(config.weights)))
    trees = _output_trees(config, scenes)
    mine = range(state.process_index, len(scenes.keys), state.num_processes)
    finished = FinishedScenes(scenes, config.weights, config.decoder, config.render, config.output)
    for tree in trees.values():
        finished.check_leftovers(tree)
        if state.is_main_process:
            remove_leftovers(tree)
    waiting = [index for index in mine if finished.unfinished(trees, index)]
    LOGGER.info("%d scenes, %d of this process unfinished", len(scenes.keys), len(waiting))
    if waiting:
        decoder = load_scene_decoder(config.weights, config.decoder, device)
        _reconstruct_scenes(config, decoder, finished, trees, waiting)
    state.wait_for_everyone()
    if config.output.grid and state.is_main_process:
        for tree in trees.values():
            write_grids(tree, range(len(scenes.keys)), config.output)
    state.destroy_process_group()


def _output_trees(config: ReconstructConfig, scenes: Scenes) -> dict[int | None, OutputTree]:
    """The folder tree of each target time, made."""
    sampling = scenes.sampling
    fixed = sampling.fixed_trajectories if sampling.trajectory_sampling == "fixed" else None
    weights = find_decoder(config.weights)
    trees = {
        time: OutputTree.at(
            Path(config.output.folder),
            weights,
            fixed,
            config.scenes.dataset,
            time,
        )
        for time in scenes.times
    }
    for tree in trees.values():
        tree.make_folders()
    return trees


@torch.no_grad()
def _reconstruct_scenes(
    config: ReconstructConfig,
    decoder: SceneDecoder,
    finished: FinishedScenes,
    trees: dict[int | None, OutputTree],
    waiting: Sequence[int],
) -> None:
    """Decode each scene, at one time after another, while earlier results are written.

    Scenes that another run is making come last, if they are not finished then.

    Raises:
        InputError: what is read does not fit; or, at the end, results that somebody removed.
    """
    with (
        ExitStack() as stack,
        BackgroundWriter() as writer,
        tqdm(total=len(waiting), desc="scenes", disable=rank() != 0) as bar,
    ):
        results = SceneResults(config.output, config.render, config.rasterizer, writer)
        claims = Claims(finished, trees, stack)
        # Two passes: who waits for another run must not hold what that run waits for.
        for indices, wait in ((waiting, False), (claims.held, True)):
            for index, first in finished.scenes.read(claims.take(indices, wait)):
                claim = claims.taken.pop(index)
                _reconstruct_scene(decoder, finished, results, trees, index, first, claim.times)
                writer.submit(claim.release)
                bar.update()
            writer.flush()
    results.check_written()


def _reconstruct_scene(
    decoder: SceneDecoder,
    finished: FinishedScenes,
    results: SceneResults,
    trees: dict[int | None, OutputTree],
    index: int,
    first: Example,
    times: Sequence[int | None],
) -> None:
    """Decode and render a scene, read at the first time, at each of `times`; queue its files."""
    scenes = finished.scenes
    # Taken now: what lies there when the scene has been read counts.
    records = {time: finished.record(index, time) for time in times}
    # What the target times share is computed once.
    prepared = decoder.prepare(first)
    references = None
    for time in times:
        example = scenes.at_time(first, index, time)
        if references is None or example.targets is not first.targets:
            meta = scenes.meta(example)
            references = find_references(example, decoder.tokenizer, results.config, meta)
        gaussians = decoder.gaussians(prepared, _target_time(decoder, example))
        _check_finite(example.key, gaussians)
        scene = DecodedScene(index, example, references, gaussians)
        results.write(scene, trees[time], records[time])


def _check_finite(key: str, gaussians: Gaussians) -> None:
    """Refuse a scene that no renderer could show."""
    bad = int((~gaussians.packed().isfinite()).any(dim=-1).sum())
    if bad:
        value = f"{bad} Gaussians with values that are not finite"
        expected = "finite ones; are the clip's latents and the decoder's weights sound?"
        raise InputError(f"scene {key!r}", value, expected)


def _target_time(decoder: SceneDecoder, example: Example) -> float | None:
    """The time of a dynamic scene for a dynamic decoder; a static one does not see it.

    Raises:
        InputError: a static scene for a dynamic decoder.
    """
    if not decoder.model.config.use_time:
        return None
    if example.target_time is None:
        raise InputError("decoder.use_time", True, "a dynamic data set, or a static decoder")
    return example.target_time
