"""Reconstructs all unfinished scenes of a data set; the processes of a launch share them.

The processes exchange nothing: scene number i belongs to process i modulo their number.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from ..export.chosen import try_formats
from ..gaussians import Gaussians
from ..models.data.dataset import ExampleDraw
from ..models.data.example import Example
from ..models.recon.scene_decoder import SceneDecoder
from ..runtime import InputError, get_logger, rank, seed_everything
from ..tokenizer.loading import load_statistics
from .config import OutputTree, ReconstructConfig
from .finished import Claim, FinishedScenes, claim_scenes, missing_files, remove_leftovers
from .inputs import Scenes, find_decoder, find_tokenizer, load_scene_decoder
from .pictures import find_references, write_grids
from .results import BackgroundWriter, SceneResults, export_moments

T = TypeVar("T")
U = TypeVar("U")
LOGGER = get_logger(__name__)
SEED = 0
# A process that has finished its scenes may wait this long for the others.
LONGEST_WAIT = timedelta(days=7)
# The folder tree of each target time.
Trees = dict[int | None, OutputTree]


def reconstruct(config: ReconstructConfig) -> None:
    """Decodes, renders and writes all unfinished scenes; after an error, finished ones stay."""
    from accelerate import PartialState

    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", config.device, "cpu or auto: no CUDA device answers")
    # Without a GPU, `cpu=True` is needed for processes to find each other.
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    device = state.device or torch.device("cpu")
    seed_everything(SEED)
    # A missing package is named before any network is loaded.
    try_formats(config.output.other_formats)
    scenes = Scenes(config.scenes, load_statistics(find_tokenizer(config.weights)))
    trees = _output_trees(config, scenes)
    mine = range(state.process_index, len(scenes.keys), state.num_processes)
    finished = FinishedScenes(config, scenes)
    for tree in trees.values():
        finished.check_leftovers(tree)
        if state.is_main_process:
            remove_leftovers(tree)
    waiting = [index for index in mine if finished.unfinished(trees, index)]
    LOGGER.info("%d scenes, %d of this process unfinished", len(scenes.keys), len(waiting))
    if waiting:
        decoder = load_scene_decoder(config.weights, config.decoder, device)
        _reconstruct_scenes(decoder, finished, trees, waiting)
    moments = {time: tree for time, tree in trees.items() if time is not None}
    for index in mine if moments else ():
        export_moments(config, moments, index)
    state.wait_for_everyone()
    if config.output.grid and state.is_main_process:
        for tree in trees.values():
            write_grids(tree, range(len(scenes.keys)), config.output)
    state.destroy_process_group()


def _output_trees(config: ReconstructConfig, scenes: Scenes) -> Trees:
    """Makes the folder tree of each target time."""
    sampling = config.scenes.sampling
    fixed = sampling.fixed_trajectories if sampling.trajectory_sampling == "fixed" else None
    folder, weights = Path(config.output.folder), find_decoder(config.weights)
    trees = {
        time: OutputTree.at(
            folder, weights, trajectories=fixed, dataset=config.scenes.dataset, time_index=time
        )
        for time in scenes.times
    }
    for tree in trees.values():
        tree.make_folders()
    return trees


@torch.no_grad()
def _reconstruct_scenes(
    decoder: SceneDecoder, finished: FinishedScenes, trees: Trees, waiting: list[int]
) -> None:
    """Decodes each scene while the next one is read and earlier results are written.

    Scenes that another run is making come last, if they are still unfinished then.
    """
    dataset = finished.scenes.first
    written: list[tuple[OutputTree, int, list[Path]]] = []
    with (
        ExitStack() as stack,
        BackgroundWriter() as writer,
        tqdm(total=len(waiting), desc="scenes", disable=rank() != 0) as bar,
    ):
        held: list[int] = []
        # In two passes: a run that waits for another must not hold what the other waits for.
        for claims in (
            claim_scenes(waiting, finished, trees, stack=stack, held=held),
            claim_scenes(held, finished, trees, stack=stack),
        ):
            for claim, result in read_ahead(
                lambda claim: dataset.try_read(ExampleDraw(claim.index)), claims
            ):
                first = dataset.accept(result)
                if first is None:
                    continue
                written += _make_scene(
                    decoder, finished, trees, writer=writer, claim=claim, first=first
                )
                writer.submit(claim.release)
                bar.update()
            writer.flush()
    gone = [path for tree, index, files in written for path in missing_files(tree, index, files)]
    if gone:
        raise InputError(gone[0], f"{len(gone)} files are gone", "results that nobody removes")


def read_ahead(read: Callable[[U], T], items: Iterable[U]) -> Iterator[tuple[U, T]]:
    """Yields `(item, read(item))` while the next item is read."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        submitted = ((item, reader.submit(read, item)) for item in items)
        pending: tuple[U, Future[T]] | None = None
        for following in chain(submitted, [None]):
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following


def _make_scene(
    decoder: SceneDecoder,
    finished: FinishedScenes,
    trees: Trees,
    writer: BackgroundWriter,
    claim: Claim,
    first: Example,
) -> Iterator[tuple[OutputTree, int, list[Path]]]:
    """Decodes and renders a scene, read at the first time, at each claimed time.

    Yields the tree, the number and the queued files at each time.
    """
    config, scenes = finished.config, finished.scenes
    # Taken now, from the files as they were when the scene was read.
    records = {time: finished.record(claim.index, time) for time in claim.times}
    # Computed once for all target times.
    prepared = decoder.prepare(first)
    references = None
    for time in claim.times:
        example = scenes.at_time(first, claim.index, time)
        if references is None or example.targets is not first.targets:
            meta = scenes.meta(example)
            references = find_references(example, decoder.tokenizer, config.output, meta=meta)
        gaussians = decoder.gaussians(prepared, _target_time(decoder, example))
        _check_finite(example.key, gaussians)
        results = SceneResults(
            config=config,
            writer=writer,
            tree=trees[time],
            index=claim.index,
            example=example,
            references=references,
            gaussians=gaussians,
        )
        yield trees[time], claim.index, results.write(records[time])


def _check_finite(key: str, gaussians: Gaussians) -> None:
    """Raises for a scene that no renderer can show."""
    bad = int((~gaussians.packed().isfinite()).any(dim=-1).sum())
    if bad:
        value = f"{bad} Gaussians with values that are not finite"
        expected = "finite ones; are the clip's latents and the decoder's weights sound?"
        raise InputError(f"scene {key!r}", value, expected)


def _target_time(decoder: SceneDecoder, example: Example) -> float | None:
    """Returns the example's time for a dynamic decoder, None for a static one."""
    if not decoder.model.config.use_time:
        return None
    if example.target_time is None:
        raise InputError("decoder.use_time", True, "a dynamic data set, or a static decoder")
    return example.target_time
