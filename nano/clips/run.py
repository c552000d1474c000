"""A run of the clip maker, which builds, samples and writes worlds at the same time.

One thread builds the next worlds, one hands finished clips to the writers; the main thread uses the
device, and waits for the others only when they are late.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from src.io.clip.clip import Clip, ClipPaths
from src.io.clip.writers import ClipWriters
from src.runtime import get_logger, progress
from src.training.loop.interruption import Interrupted, Terminations

from ..worlds.scene import Worlds, build_worlds
from .config import ClipsConfig
from .maker import ClipMaker

LOGGER = get_logger(__name__)


def make_clips(config: ClipsConfig) -> int:
    """Make clips that are missing or were made with other settings; returns how many.

    Every end but SIGKILL leaves whole worlds; the next run with the same worlds removes parts.

    Raises:
        InputError: missing or damaged weights.
        Interrupted: SIGTERM or SIGINT came; the worlds in progress are finished.
    """
    begin = time.monotonic()
    with Terminations() as terminations:
        with ClipWriters(config.processes) as writers:
            maker = ClipMaker(config)
            missing = [seed for seed in config.seeds if not maker.is_made(seed)]
            try:
                made = _make(
                    maker, missing, writers=writers, terminations=terminations, begin=begin
                )
                with maker.clock("last clips"):
                    writers.finish()
            finally:
                # Clips that wait for a writer do not count for their world yet.
                writers.close()
                dropped = maker.drop_partial(missing)
        seconds = time.monotonic() - begin
        LOGGER.info("%s: %d clips in %.1f s", maker.root, made, seconds)
        parts = sorted(maker.clock.take().items(), key=lambda item: -item[1])
        LOGGER.info("seconds: %s", ", ".join(f"{name} {value:.1f}" for name, value in parts))
        if dropped:
            LOGGER.warning("%s: %d incomplete worlds removed", maker.root, dropped)
        if terminations.seen:
            said = f"{maker.root}: told to stop ({terminations.name}) after {made} clips"
            raise Interrupted(said, terminations.number)
    return made


def _make(
    maker: ClipMaker,
    missing: Sequence[int],
    writers: ClipWriters,
    terminations: Terminations,
    begin: float,
) -> int:
    """Hand the clips of missing worlds to the writers, as many as there is time for."""
    config, clock, made = maker.config, maker.clock, 0
    step = config.worlds_at_once
    built_of = partial(build_worlds, dynamic=config.dynamic, detail=config.detail)
    groups = [missing[at : at + step] for at in range(0, len(missing), step)]
    with ThreadPoolExecutor(1) as builder, ThreadPoolExecutor(1) as deliverer:
        built: Future[Worlds] | None = None
        delivered: Future[None] | None = None
        for number, group in enumerate(progress(groups, f"clips for {maker.root}", len(groups))):
            minutes = (time.monotonic() - begin) / 60
            late = config.max_minutes is not None and minutes >= config.max_minutes
            if late or terminations.seen:
                LOGGER.warning("stopped early: %d clips after %.1f minutes", made, minutes)
                break
            with clock("worlds"):
                built = built or builder.submit(built_of, group)
                worlds, built = built.result(), None
            if number + 1 < len(groups):
                built = builder.submit(built_of, groups[number + 1])
            clips = maker(group, worlds)
            with clock("writers"):
                if delivered is not None:
                    delivered.result()
            delivered = deliverer.submit(_deliver, writers, clips)
            made += len(clips)
        with clock("writers"):
            if delivered is not None:
                delivered.result()
    return made


def _deliver(writers: ClipWriters, clips: Sequence[tuple[ClipPaths, Clip]]) -> None:
    for paths, clip in clips:
        writers.write(paths, clip)
