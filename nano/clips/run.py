"""A run of the clip maker: worlds are built, sampled and written at the same time.

One thread builds the next worlds, one hands finished clips to the writers; the one that speaks to
the device waits for them only when they are behind.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from src.io.clip.clip import Clip, ClipPaths
from src.io.clip.writers import ClipWriters
from src.runtime import get_logger, progress
from src.training.loop.interruption import Interrupted, Terminations

from ..worlds.scene import Worlds, build_worlds
from .config import ClipsConfig
from .maker import ClipMaker

LOGGER = get_logger(__name__)


def make_clips(config: ClipsConfig) -> int:
    """Make the clips that are missing, or were made otherwise; returns how many.

    Worlds are complete when this ends, whatever ended it but SIGKILL; the next run with the same
    worlds removes what that has left.

    Raises:
        InputError: missing or damaged weights.
        Interrupted: told to stop by SIGTERM or SIGINT, after the worlds in progress.
    """
    begin = time.monotonic()
    with Terminations() as terminations:
        with ClipWriters(config.processes) as writers:
            maker = ClipMaker(config)
            missing = [seed for seed in config.seeds if not maker.is_made(seed)]
            try:
                made = _make(maker, missing, writers, terminations, begin)
                with maker.clock("last clips"):
                    writers.finish()
            finally:
                # Clips in the hands of the writers are no part of a world yet.
                writers.close()
                dropped = maker.drop_partial(missing)
        seconds = time.monotonic() - begin
        LOGGER.info("%s: %d clips in %.1f s", maker.root, made, seconds)
        parts = sorted(maker.clock.take().items(), key=lambda item: -item[1])
        LOGGER.info("seconds: %s", ", ".join(f"{name} {value:.1f}" for name, value in parts))
        if dropped:
            LOGGER.warning("%s: %d worlds in parts removed", maker.root, dropped)
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
    """Hand the clips of all missing worlds, or of those there is time for, to the writers."""
    config, clock, made = maker.config, maker.clock, 0
    step = config.worlds_at_once
    groups = [missing[at : at + step] for at in range(0, len(missing), step)]
    with ThreadPoolExecutor(1) as builder, ThreadPoolExecutor(1) as deliverer:
        built: Future[Worlds] | None = None
        delivered: Future[None] | None = None
        for number, group in enumerate(progress(groups, f"clips for {maker.root}", len(groups))):
            minutes = (time.monotonic() - begin) / 60
            late = config.max_minutes is not None and minutes >= config.max_minutes
            if late or terminations.seen:
                LOGGER.warning("%d clips after %.1f minutes, not all of them", made, minutes)
                break
            with clock("worlds"):
                built = built or builder.submit(build_worlds, group, config.dynamic)
                worlds, built = built.result(), None
            if number + 1 < len(groups):
                built = builder.submit(build_worlds, groups[number + 1], config.dynamic)
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
