"""Processes that share the attention of one decoder: each computes some of the heads.

Attention takes most of the decoder's time at full size. The first process of a team, its leader,
runs the decoder. The others hold the same weights, receive the tokens of an attention block from
it, and return the result of their heads. For inference: no gradient passes the exchange.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from ...runtime import InputError, TeamMessages
from .blocks import Attention
from .decoder import LatentRecon


class AttentionRequest(NamedTuple):
    """The attention block that comes next, and its tokens' shape and type."""

    block: int
    shape: torch.Size
    dtype: torch.dtype


class DecoderTeam:
    """The processes that share a decoder; only their leader has scenes."""

    def __init__(self, members: dist.ProcessGroup, messages: dist.ProcessGroup) -> None:
        """`members` exchange tensors, `messages` are the same processes with the backend gloo."""
        self._members, self._messages = members, TeamMessages(messages)
        self._blocks: list[Attention] = []

    @property
    def leads(self) -> bool:
        """Whether this process is the leader."""
        return self._messages.leads

    def share(self, model: LatentRecon) -> None:
        """Shares the heads of the model's attention blocks from now on.

        Raises `InputError` if the heads cannot be divided equally.
        """
        size, heads = self._members.size(), model.config.heads
        if heads % size:
            raise InputError("processes_per_scene", size, f"a divisor of the {heads} heads")
        self._blocks = [part for part in model.modules() if isinstance(part, Attention)]
        if self.leads:
            for number, block in enumerate(self._blocks):
                block.together = partial(self._ask, number)

    def follow(self, load: Callable[[], LatentRecon]) -> None:
        """Computes heads for the leader until it ends; `load` is called when there is work."""
        with torch.inference_mode():
            while (request := self._messages.hear()) is not None:
                if not self._blocks:
                    self.share(load())
                block = self._blocks[request.block]
                tokens = block.proj.weight.new_empty(request.shape, dtype=request.dtype)
                self._compute(block, tokens)

    def end(self) -> None:
        """Lets the others leave `follow`, unless they wait for this process; for the leader."""
        self._messages.end()

    def _ask(
        self, number: int, tokens: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Returns the result of all heads."""
        with self._messages.together(AttentionRequest(number, tokens.shape, tokens.dtype)):
            return self._compute(self._blocks[number], tokens.contiguous())

    def _compute(
        self, block: Attention, tokens: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        dist.broadcast(tokens, group_src=0, group=self._members)
        size, rank = self._members.size(), self._members.rank()
        count = block.heads // size
        own = block.mix(tokens, slice(rank * count, (rank + 1) * count)).contiguous()
        parts = [torch.empty_like(own) for _ in range(size)]
        dist.all_gather(parts, own, group=self._members)
        return torch.cat(parts, dim=-1)


@contextmanager
def join_team(size: int, patience: timedelta) -> Iterator[DecoderTeam | None]:
    """Joins the team of this process while the block runs; None for teams of one process.

    `size` consecutive processes of the launch are a team; `patience` is the longest wait for a
    leader. All processes enter the block. Raises `InputError` if the processes do not make equal
    teams.
    """
    count = dist.get_world_size() if dist.is_initialized() else 1
    if count % size:
        expected = f"a divisor of the {count} processes of the launch"
        raise InputError("processes_per_scene", size, expected)
    if size == 1:
        yield None
        return
    teams = [list(range(start, start + size)) for start in range(0, count, size)]
    members, _ = dist.new_subgroups_by_enumeration(teams, timeout=patience)
    messages, _ = dist.new_subgroups_by_enumeration(teams, timeout=patience, backend="gloo")
    assert isinstance(members, dist.ProcessGroup) and isinstance(messages, dist.ProcessGroup)
    team = DecoderTeam(members, messages)
    try:
        yield team
    finally:
        if team.leads:
            team.end()
