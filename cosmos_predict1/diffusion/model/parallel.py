"""Processes that compute one forward pass together: each has a share of the tokens, or a branch.

Ulysses (Jacobs et al. 2023, "DeepSpeed Ulysses"): self-attention needs all tokens but treats heads
apart. Before it the processes exchange tokens for heads, and after it heads for tokens. All else
in a block is local to a token. For inference: no gradient passes an exchange.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.distributed as dist
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ..conditioning.latents import Conditions, Prepared
from .denoiser import Network


def begin_tokens_to_heads(
    x: Float[Tensor, "batch own_token head dim"], group: dist.ProcessGroup
) -> Callable[[], Float[Tensor, "batch token own_head dim"]]:
    """Begins `tokens_to_heads`; its result comes from calling what is returned."""
    sent = rearrange(x, "b t (r h) d -> r b t h d", r=group.size()).contiguous()
    received = torch.empty_like(sent)
    work = dist.all_to_all_single(received, sent, group=group, async_op=True)
    assert work is not None, "a process outside of its group"

    def finish() -> Float[Tensor, "batch token own_head dim"]:
        work.wait()
        return rearrange(received, "r b t h d -> b (r t) h d", r=len(sent))

    return finish


def tokens_to_heads(
    x: Float[Tensor, "batch own_token head dim"], group: dist.ProcessGroup
) -> Float[Tensor, "batch token own_head dim"]:
    """Returns this process' share of the heads with the tokens of all processes of `group`."""
    return begin_tokens_to_heads(x, group)()


def heads_to_tokens(
    x: Float[Tensor, "batch token own_head dim"], group: dist.ProcessGroup
) -> Float[Tensor, "batch own_token head dim"]:
    """Returns this process' share of the tokens with all heads; undoes `tokens_to_heads`."""
    sent = rearrange(x, "b (r t) h d -> r b t h d", r=group.size()).contiguous()
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    return rearrange(received, "r b t h d -> b t (r h) d")


class TokenShare:
    """This process' consecutive share of the tokens of every forward pass."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group

    def cut(
        self, tokens: Float[Tensor, "batch token width"], prepared: Prepared
    ) -> tuple[Float[Tensor, "batch own_token width"], Prepared]:
        """Returns the share of the tokens, and of the tables that go with them."""
        size, rank = self.group.size(), self.group.rank()
        count = tokens.shape[1] // size
        assert count * size == tokens.shape[1], f"{tokens.shape[1]} tokens over {size} processes"
        own = slice(rank * count, (rank + 1) * count)
        tables = {"cos": prepared.cos[own], "sin": prepared.sin[own]}
        return tokens[:, own].contiguous(), replace(
            prepared, **tables, position=prepared.position[:, own]
        )

    def join(
        self, own: Float[Tensor, "batch own_token feature"]
    ) -> Float[Tensor, "batch token feature"]:
        """Returns the features of all tokens, the same in all processes."""
        parts = [torch.empty_like(own) for _ in range(self.group.size())]
        dist.all_gather(parts, own.contiguous(), group=self.group)
        return torch.cat(parts, dim=1)


def share_tokens(blocks: Iterable[nn.Module], group: dist.ProcessGroup) -> TokenShare:
    """Returns the share of a network's tokens that this process of `group` computes.

    The self-attention of its `blocks` exchanges tokens from now on, for inference. All processes
    have to call the network with the same arguments; the output is whole in each.
    """
    for block in blocks:
        cast(Any, block).share_tokens(group)
    return TokenShare(group)


@dataclass(frozen=True)
class BranchConditions:
    """Prepared conditions of both guidance branches, or of the one with the index `branch`."""

    prepared: Any
    branch: int | None = None

    def chunk(self, parts: int) -> list["BranchConditions"]:
        """The branches, one each."""
        assert parts == 2, f"{parts} branches"
        cut = self.prepared.chunk(2)
        return [BranchConditions(cut, index) for index in range(2)]


class BranchShare:
    """A network whose two guidance branches are computed by two processes at the same time.

    Both processes ask for the same branches of the same samples, each computes one of the two, and
    they exchange the outputs. The other branch's output is kept, because guidance asks for it next.
    """

    def __init__(self, network: Network, group: dist.ProcessGroup) -> None:
        assert group.size() == 2, f"{group.size()} processes for two branches"
        self.network, self.group = network, group
        self._latest: tuple[Tensor, Any, list[Tensor]] | None = None

    def prepare(self, conditions: Conditions) -> BranchConditions:
        """Prepares the conditions of both branches, or of one that is used alone."""
        self._latest = None
        return BranchConditions(self.network.prepare(conditions))

    def __call__(self, x: Tensor, c_noise: Tensor, conditions: BranchConditions) -> Tensor:
        """The network's output for one branch."""
        if conditions.branch is None:
            return self.network(x, c_noise, conditions.prepared)
        known = self._latest
        if known is None or known[0] is not x or known[1] is not conditions.prepared:
            own = self.network(x, c_noise, conditions.prepared[self.group.rank()]).contiguous()
            outputs = [torch.empty_like(own) for _ in range(2)]
            dist.all_gather(outputs, own, group=self.group)
            # The sample is kept, too, so that no other one can have its identity.
            known = self._latest = (x, conditions.prepared, outputs)
        return known[2][conditions.branch]
