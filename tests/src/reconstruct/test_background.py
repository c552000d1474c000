"""Jobs beside the main thread: their order, their errors, their number."""

import threading
import time

import pytest

from src.reconstruct.background import BackgroundWriter, read_ahead


def test_jobs_run_in_order_beside_the_main_thread() -> None:
    """Jobs that overtake each other, run in the caller, or are forgotten at the end."""
    done: list[tuple[int, bool]] = []
    main = threading.get_ident()
    with BackgroundWriter(max_pending=3) as writer:
        for index in range(20):
            writer.submit(lambda index=index: done.append((index, threading.get_ident() == main)))
    assert done == [(index, False) for index in range(20)]


def test_a_failed_job_is_the_last_one() -> None:
    """An error of a writer that is lost, or a scene marked as finished after its video failed."""
    done: list[str] = []

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), BackgroundWriter() as writer:
        writer.submit(lambda: done.append("before"))
        writer.submit(fail)
        writer.submit(lambda: done.append("after"))
    assert done == ["before"]


def test_a_failed_job_stops_the_next_submit() -> None:
    """A run that goes on for hours after its disk was full."""
    release = threading.Event()

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), BackgroundWriter(max_pending=1) as writer:
        writer.submit(fail)
        writer.submit(release.set)
        writer.submit(release.set)
        pytest.fail("the third job was accepted")
    assert not release.is_set()


def test_jobs_still_run_when_the_block_fails() -> None:
    """A finished scene that is lost because the next one cannot be read."""
    done: list[int] = []
    with pytest.raises(ValueError, match="main"), BackgroundWriter() as writer:
        writer.submit(lambda: time.sleep(0.1))
        writer.submit(lambda: done.append(1))
        raise ValueError("main")
    assert done == [1]


def test_an_interrupt_drops_what_waits() -> None:
    """Ctrl-C that is followed by minutes of videos."""
    done: list[int] = []
    begun = threading.Event()

    def first() -> None:
        begun.set()
        time.sleep(0.1)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), BackgroundWriter() as writer:
        writer.submit(first)
        writer.submit(lambda: done.append(2))
        assert begun.wait(10)
        raise KeyboardInterrupt
    assert done == [1]


def test_submit_waits_when_too_many_jobs_are_pending() -> None:
    """A queue without a bound, which fills the memory with pictures."""
    release = threading.Event()
    with BackgroundWriter(max_pending=2) as writer:
        writer.submit(release.wait)
        writer.submit(release.wait)
        threading.Timer(0.3, release.set).start()
        start = time.monotonic()
        writer.submit(release.wait)
        assert time.monotonic() - start > 0.2


def test_items_are_read_one_ahead() -> None:
    """Reading that waits for the work, runs away from it, loses items or their order."""
    read: list[int] = []

    def note(item: int) -> int:
        read.append(item)
        return -item

    for item, value in read_ahead(note, range(5)):
        assert value == -item
        time.sleep(0.02)
        assert max(read) <= item + 1
    assert read == list(range(5))
    assert list(read_ahead(note, [])) == []


def test_errors_of_reading_reach_the_reader() -> None:
    """An unreadable scene that is skipped in silence."""
    seen = []
    with pytest.raises(ZeroDivisionError):
        for item, _ in read_ahead(lambda item: 1 // item, [2, 1, 0, 3]):
            seen.append(item)
    assert seen == [2, 1]
