"""Jobs beside the main thread: their order, their errors, their number."""

import threading
import time
from functools import partial

import pytest
import torch

from src.reconstruct.background import (
    BackgroundWriter,
    HostCopy,
    aside,
    read_ahead,
    writer_threads,
)


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


def test_the_last_job_waits_for_all_threads() -> None:
    """A scene that is marked as finished while another thread still writes its longest video."""
    done: list[str] = []
    release = threading.Event()

    def slow() -> None:
        assert release.wait(10)
        done.append("slow")

    with BackgroundWriter(threads=3) as writer:
        writer.submit(slow)
        writer.submit(lambda: done.append("fast"))
        writer.submit_last(lambda: done.append("mark"))
        writer.submit(lambda: done.append("next"))
        while len(done) < 2:
            time.sleep(0.01)
        release.set()
    assert sorted(done[:2]) == ["fast", "next"] and done[2:] == ["slow", "mark"]


def test_no_last_job_after_a_failed_one() -> None:
    """The mark of a scene one of whose videos failed in another thread."""
    done: list[str] = []

    def fail() -> None:
        time.sleep(0.1)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), BackgroundWriter(threads=4) as writer:
        writer.submit(fail)
        writer.submit_last(lambda: done.append("mark"))
    assert not done


def test_what_runs_meanwhile_precedes_the_value() -> None:
    """Cameras that are encoded after the pictures were read, or those of another scene."""
    order: list[str] = []
    reading = read_ahead(lambda item: item, [1, 2], lambda item: order.append(f"during {item}"))
    for item, _ in reading:
        order.append(f"got {item}")
    assert order == ["during 1", "got 1", "during 2", "got 2"]


def test_writers_of_a_gpu_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU whose renderer has to share its cores, or a GPU that waits for a single writer."""
    for cores, expected in ((1, 1), (2, 1), (16, 8), (128, 8)):
        monkeypatch.setattr("src.reconstruct.background._cores", lambda cores=cores: cores)
        assert writer_threads(torch.device("cuda")) == expected
        assert writer_threads(torch.device("cpu")) == 1


@pytest.mark.gpu
def test_frames_are_copied_when_they_are_rendered() -> None:
    """A copy on a stream of its own that overtakes the kernels which write the frames."""
    device = torch.device("cuda")
    with BackgroundWriter(threads=4) as writer:
        for round_number in range(20):
            frames = torch.zeros(8, 512, 512, 3, dtype=torch.uint8, device=device)
            for _ in range(30):
                frames += 1
            copy = HostCopy(frames + round_number)
            for _ in range(2):
                job = partial(_check_level, copy, 30 + round_number)
                writer.submit(aside(device, job))
            del frames


def _check_level(copy: HostCopy, level: int) -> None:
    assert (copy() == level).all()
