"""The seconds of a run's parts, as debug records of this module's logger.

A record has the arguments (name of the part, seconds) and the name of its thread. The parts of the
main thread follow each other and add up to the whole run.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime import get_logger

LOGGER = get_logger(__name__)


@contextmanager
def clocked(name: str) -> Iterator[None]:
    """Logs the seconds of the block; work that a GPU still does counts in a later part."""
    start = time.perf_counter()
    try:
        yield
    finally:
        LOGGER.debug("%s: %.3f s", name, time.perf_counter() - start)
