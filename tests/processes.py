"""The processes of a group or a session, from /proc; work that two processes do together."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist


def living(number: int, of: Literal["group", "session"]) -> list[str]:
    """The processes of a group or a session that have not ended, each with its name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name stands in brackets and may hold spaces; then state, parent, group, session.
        name, rest = text[: text.rindex(")") + 1], text[text.rindex(")") + 1 :].split()
        if int(rest[2 if of == "group" else 3]) == number and rest[0] != "Z":
            found.append(name)
    return found


def in_two_processes(folder: Path, work: Callable[[], object]) -> list[Any]:
    """What `work` returns in each of two processes of a group with the backend gloo."""
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_in_process, args=(rank, folder, work)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _in_process(rank: int, folder: Path, work: Callable[[], object]) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    torch.save(work(), folder / f"{rank}.pt")
    dist.destroy_process_group()
