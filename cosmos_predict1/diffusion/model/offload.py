"""Moves parts of the generator between CPU and GPU; does nothing on a machine without a GPU.

Parts that work once in a clip (tokenizer, text encoder, depth) move there and back. The transformer
works 70 times: its blocks stream through two buffers on the GPU, each copied while the previous
block computes. The copies are byte for byte, of whatever type a block's tensors have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from .network import Gen3CTransformer

Module = TypeVar("Module", bound=nn.Module)
State = Mapping[str, Tensor]


@contextmanager
def resident(module: Module, device: torch.device, offload: bool) -> Iterator[Module]:
    """Keep `module` on `device` while the block runs; with `offload` it returns to the CPU."""
    module.to(device)
    try:
        yield module
    finally:
        if offload and device.type != "cpu":
            module.to("cpu")
            # The allocator's cache is lost to other programs and to torch's own larger blocks.
            torch.cuda.empty_cache()


@runtime_checkable
class Copier(Protocol):
    """The interface between a stream of blocks and a device that copies beside its work."""

    def start(self, targets: State, sources: State) -> Any:
        """Begin to copy after all work so far; returns the ticket that `wait` takes."""
        ...

    def wait(self, ticket: Any) -> None:
        """Let all later work wait for the copy."""
        ...


class DirectCopier:
    """Copies at once, on any device."""

    def start(self, targets: State, sources: State) -> None:
        """Copy the tensors; see `Copier`."""
        for name, source in sources.items():
            targets[name].copy_(source)

    def wait(self, ticket: None) -> None:
        """Nothing is left to wait for."""


class SideStream:
    """Copies from pinned memory on a CUDA stream of its own, beside the computing one."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def start(self, targets: State, sources: State) -> torch.Event:
        """Copy after the work that still reads the targets; see `Copier`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            for name, source in sources.items():
                targets[name].copy_(source, non_blocking=True)
        return self._stream.record_event()

    def wait(self, ticket: torch.Event) -> None:
        """Let the current stream wait for the copy's event."""
        torch.cuda.current_stream(self._stream.device).wait_event(ticket)


class BlockStream:
    """Keeps the weights of blocks elsewhere, and at most two blocks' weights on the device.

    A block's weights are there when it is called. Its call starts the copy of the next block's into
    the other buffer, or of the first block's after the last; calls in another order, or without
    some of the blocks, are slower but right. For inference without compiled blocks.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        device: torch.device,
        *,
        copier: Copier,
        fetch: Callable[[int], State] | None = None,
        cyclic: bool = True,
    ) -> None:
        """Hook into the calls of `blocks`.

        `fetch` reads the weights of a block by its index, under their names in the block; the
        default takes the block's own. Without `cyclic`, no copy starts after the last block.
        """
        self._blocks, self._device, self._copier = blocks, device, copier
        self._home = [dict(block.state_dict()) for block in blocks]
        self._fetch = fetch or self._home.__getitem__
        self._cyclic = cyclic
        self._buffers: tuple[dict[str, Tensor], ...] = ({}, {})
        self._held: list[int | None] = [None, None]
        self._tickets: list[Any] = [None, None]
        self._latest = 1
        self._hooks = [
            block.register_forward_pre_hook(partial(self._enter, at))
            for at, block in enumerate(blocks)
        ]

    def close(self) -> None:
        """Give the blocks their own tensors back, and free the buffers."""
        for hook in self._hooks:
            hook.remove()
        for buffer in range(2):
            # A copy that nobody waits for would write into freed memory.
            if self._held[buffer] is not None:
                self._copier.wait(self._tickets[buffer])
            self._evict(buffer)
            self._buffers[buffer].clear()

    def _enter(self, at: int, _block: nn.Module, _inputs: object) -> None:
        """Have the weights of block `at`, which is about to run, and start the next one's copy."""
        if at not in self._held:
            self._load(at, 1 - self._latest)
        buffer = self._held.index(at)
        self._copier.wait(self._tickets[buffer])
        self._latest = buffer
        following = at + 1
        if following == len(self._blocks):
            if not self._cyclic:
                return
            following = 0
        if following not in self._held:
            self._load(following, 1 - buffer)

    def _load(self, at: int, buffer: int) -> None:
        """Start to copy the weights of block `at` into a buffer, and give them to the block."""
        self._evict(buffer)
        sources, room = self._fetch(at), self._buffers[buffer]
        # Tensors of inference mode could not be written outside of it.
        with torch.inference_mode(False):
            for name, source in sources.items():
                if name not in room or not _alike(room[name], source):
                    room[name] = torch.empty_like(source, device=self._device)
        self._tickets[buffer] = self._copier.start(room, sources)
        self._held[buffer] = at
        _assign(self._blocks[at], {name: room[name] for name in sources})

    def _evict(self, buffer: int) -> None:
        """Give the block that a buffer holds its own tensors back."""
        at = self._held[buffer]
        if at is not None:
            _assign(self._blocks[at], self._home[at])
            self._held[buffer] = None


def stream_blocks(network: Gen3CTransformer, device: torch.device) -> None:
    """Keep the transformer's blocks in pinned memory and stream them through `device` from now on.

    For inference on a CUDA device, with a network on the CPU and without compiled blocks. The other
    parts, 0.3 GB at full size, move to the device.
    """
    if device.type == "cpu":
        return
    blocks = list(network.transformer_blocks)
    for block in blocks:
        # One block at a time: weights that are mapped from a file are never in memory twice.
        _assign(block, {name: part.pin_memory() for name, part in block.state_dict().items()})
    for part in network.children():
        if part is not network.transformer_blocks:
            part.to(device)
    BlockStream(blocks, device, copier=SideStream(device))


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _assign(block: nn.Module, state: State) -> None:
    """Make `state` the tensors of a block."""
    block.load_state_dict(state, assign=True)
