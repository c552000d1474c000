"""Reconstructs all unfinished scenes of a data set; the processes of a launch share them.

Scene number i belongs to process i modulo their number; the processes exchange nothing. With
`processes_per_scene` it belongs to a team of processes: the first does all of it, the others
compute a part of its decoder's attention.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from ..export.chosen import try_formats
from ..gaussians import Gaussians
from ..io.records import weights_digest
from ..models.data.dataset import ExampleDraw, Unreadable
from ..models.data.example import Example
from ..models.recon.parallel import DecoderTeam, join_team
from ..models.recon.scene_decoder import SceneDecoder, floating_type
from ..rendering.rasterize import load_kernels
from ..runtime import InputError, get_logger, rank, seed_everything
from ..tokenizer.loading import load_statistics
from .background import BackgroundWriter, read_ahead, writer_threads
from .clock import clocked
from .config import OutputTree, ReconstructConfig
from .finished import Claim, FinishedScenes, claim_scenes, missing_files, remove_leftovers
from .inputs import Scenes, find_decoder, find_tokenizer, load_scene_decoder
from .pictures import find_references, write_grids
from .pluecker_files import PLUECKER_FOLDER, Background, PlueckerFiles, encoding_settings
from .results import SceneResults, export_moments

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
    with clocked("set up the device"):
        state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
        device = state.device or torch.device("cpu")
        seed_everything(SEED)
        # A missing package is named before any network is loaded.
        try_formats(config.output.other_formats)
    with clocked("find the scenes"):
        scenes = Scenes(config.scenes, load_statistics(find_tokenizer(config.weights)))
    trees = _output_trees(config, scenes)
    finished = FinishedScenes(config, scenes)
    for tree in trees.values():
        finished.check_leftovers(tree)
        if state.is_main_process:
            remove_leftovers(tree)
    size = config.processes_per_scene
    with join_team(size, LONGEST_WAIT) as team:
        mine = range(state.process_index // size, len(scenes.keys), state.num_processes // size)
        if team is not None and not team.leads:
            mine = range(0)
            team.follow(lambda: load_scene_decoder(config.weights, config.decoder, device).model)
        waiting = [index for index in mine if finished.unfinished(trees, index)]
        LOGGER.info("%d scenes, %d of this process unfinished", len(scenes.keys), len(waiting))
        if waiting:
            _reconstruct_scenes(device, finished, trees, waiting, team)
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


class ReadScene(NamedTuple):
    """A scene at the first time, and its record at each claimed time."""

    result: Example | Unreadable
    records: dict[int | None, dict[str, object]]


@torch.no_grad()
def _reconstruct_scenes(
    device: torch.device,
    finished: FinishedScenes,
    trees: Trees,
    waiting: list[int],
    team: DecoderTeam | None,
) -> None:
    """Decodes each scene while the next one is read and earlier results are written.

    Weights and kernels are loaded, and the maps of a scene's cameras encoded, while its latents and
    pictures are read. Scenes that another run is making come last, if they are still unfinished.
    """
    config = finished.config
    written: list[tuple[OutputTree, int, list[Path]]] = []
    with (
        ExitStack() as stack,
        BackgroundWriter(threads=writer_threads(device)) as writer,
        tqdm(total=len(waiting), desc="scenes", disable=rank() != 0) as bar,
    ):
        networks = cache(partial(_load, config, device, writer.submit, team))
        load_rasterizer = cache(
            lambda: writer.submit(partial(load_kernels, device, config.rasterizer))
        )
        warm_up = cache(lambda *clip: networks().warm_up(*clip))
        held: list[int] = []

        def encode_cameras(claim: Claim) -> None:
            cameras, decoder = None, networks()
            # The thread that reads the whole scene reports the error.
            with suppress(InputError):
                cameras = dataset.cameras(ExampleDraw(claim.index))
            # While the GPU encodes cameras this thread waits, and leaves Python to the import.
            load_rasterizer()
            if cameras is not None:
                with clocked("encode Pluecker maps"):
                    decoder.plueckers(cameras, device)
                # Not in a team, whose others would compute attention of nothing.
                if device.type == "cuda" and team is None:
                    with clocked("load the decoder's kernels"):
                        warm_up(cameras.c2w.shape[1], (cameras.height, cameras.width))

        # In two passes: a run that waits for another must not hold what the other waits for.
        dataset = finished.scenes.first
        for claims in (
            claim_scenes(waiting, finished, trees, stack=stack, held=held),
            claim_scenes(held, finished, trees, stack=stack),
        ):
            for claim, read in read_ahead(partial(_read, finished), claims, encode_cameras):
                first = dataset.accept(read.result)
                if first is None:
                    continue
                scene = ClaimedScene(finished, claim, first, records=read.records)
                written += scene.make(networks(), trees, writer)
                writer.submit_last(claim.release)
                bar.update()
            writer.flush()
    gone = [path for tree, index, files in written for path in missing_files(tree, index, files)]
    if gone:
        raise InputError(gone[0], f"{len(gone)} files are gone", "results that nobody removes")


def _load(
    config: ReconstructConfig,
    device: torch.device,
    background: Background,
    team: DecoderTeam | None,
) -> SceneDecoder:
    """Loads the decoder; the tokenizer is loaded when it is needed."""
    with clocked("load the networks"), ThreadPoolExecutor(1) as pool:
        digest = pool.submit(weights_digest, find_tokenizer(config.weights))
        decoder = load_scene_decoder(config.weights, config.decoder, device)
        tokenizer = digest.result()
    if team is not None:
        team.share(decoder.model)
    decoder.plueckers = PlueckerFiles(
        decoder.plueckers,
        folder=Path(config.output.folder) / PLUECKER_FOLDER,
        most_bytes=int(config.pluecker_cache_gb * 1e9),
        made_by=encoding_settings(
            decoder, tokenizer, floating_type(config.weights.tokenizer_type, device)
        ),
        background=background,
    )
    return decoder


def _read(finished: FinishedScenes, claim: Claim) -> ReadScene:
    """Reads a scene, and the record of its files as they are now."""
    with clocked("read latents and pictures"):
        result = finished.scenes.first.try_read(ExampleDraw(claim.index))
    times = claim.times if isinstance(result, Example) else []
    with clocked("digest inputs and weights"):
        return ReadScene(result, {time: finished.record(claim.index, time) for time in times})


@dataclass(frozen=True)
class ClaimedScene:
    """A scene that is read at the first time, and its record at each claimed time."""

    finished: FinishedScenes
    claim: Claim
    first: Example
    records: Mapping[int | None, Mapping[str, object]]

    def make(
        self, decoder: SceneDecoder, trees: Trees, writer: BackgroundWriter
    ) -> Iterator[tuple[OutputTree, int, list[Path]]]:
        """Decodes and renders the scene at each claimed time.

        Yields the tree, the number and the queued files at each time.
        """
        config, scenes, index = self.finished.config, self.finished.scenes, self.claim.index
        # Computed once for all target times.
        with clocked("prepare"):
            prepared = decoder.prepare(self.first)
        references = None
        for time in self.claim.times:
            example = scenes.at_time(self.first, index, time)
            if references is None or example.targets is not self.first.targets:
                meta = scenes.meta(example)
                with clocked("find references"):
                    references = find_references(
                        example, lambda: decoder.tokenizer, config.output, meta=meta
                    )
            with clocked("decode"):
                gaussians = decoder.gaussians(prepared, _target_time(decoder, example))
                _check_finite(example.key, gaussians)
            results = SceneResults(
                config=config,
                writer=writer,
                tree=trees[time],
                index=index,
                example=example,
                references=references,
                gaussians=gaussians,
            )
            yield trees[time], index, results.write(self.records[time])


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
