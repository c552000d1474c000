"""The team of processes that sample the same clip, each on a GPU of its own; the first one leads.

The leader alone reads inputs, makes and encodes warps, decodes, and writes files. It hands every
piece of a clip to the others, which sample it too and drop the result.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from src.runtime import InputError, TeamMessages
from src.tokenizer.cosmos import latent_frames

from ..config import ClipSettings
from ..hardware import HardwareConfig
from ..model.architecture import TransformerConfig
from ..model.denoiser import Network
from ..model.parallel import BranchShare, share_tokens
from .pipeline import Gen3C
from .recipe import Context, SamplingPlan, sample_latents
from .sampler import Progress

# The others wait while the leader prepares a scene or waits for clips of another run.
PATIENCE = timedelta(days=7)
# The side of a token: two pixels of a latent.
TOKEN_PIXELS = 16


@dataclass(frozen=True)
class SharedPiece:
    """A piece to sample, as the arguments of `sample_latents`, on the CPU."""

    first: Float[Tensor, "clip channel given_frame lh lw"]
    warps: Float[Tensor, "clip warp_channel latent_frame lh lw"]
    texts: tuple[Context, Context]
    plan: SamplingPlan


class Team:
    """A team as one of its processes sees it; `join_team` makes it."""

    def __init__(
        self,
        members: dist.ProcessGroup,
        context: dist.ProcessGroup,
        branches: dist.ProcessGroup | None,
    ) -> None:
        """Take the groups of all members, of those that share tokens, and of a pair of branches."""
        self._messages, self._context, self._branches = TeamMessages(members), context, branches

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._messages.leads

    def begin(self) -> None:
        """Let the others load their networks; the leader calls it."""
        self._messages.tell("begin")

    def end(self) -> None:
        """Let the others end, unless they wait for this process in the middle of a piece."""
        self._messages.end()

    def share(self, generator: Gen3C) -> None:
        """Let the members sample the pieces of `generator` together."""
        network = generator.network
        if self._context.size() > 1:
            network.token_share = share_tokens(network.transformer_blocks, self._context)
        if self._branches is not None:
            generator.sampled = BranchShare(network, self._branches)
        generator.sample = self.sample

    def sample(
        self,
        network: Network,
        first: Float[Tensor, "clip channel given_frame lh lw"],
        warps: Float[Tensor, "clip warp_channel latent_frame lh lw"],
        texts: tuple[Context, Context],
        plan: SamplingPlan,
        progress: Progress | None = None,
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """Returns what `sample_latents` does, sampled by all members; the leader calls it."""
        positive, negative = (text.cpu() for text in texts)
        piece = SharedPiece(first.cpu(), warps.cpu(), (positive, negative), plan)
        with self._messages.together(piece):
            return sample_latents(network, first, warps, texts, plan, progress)

    def follow(self, load: Callable[[], Gen3C]) -> None:
        """Sample along with the leader until it ends; `load` is called when there is work."""
        generator: Gen3C | None = None
        while (request := self._messages.hear()) is not None:
            if generator is None:
                generator = load()
                self.share(generator)
            if isinstance(request, SharedPiece):
                parts = {field.name: getattr(request, field.name) for field in fields(request)}
                for name in ("first", "warps"):
                    parts[name] = parts[name].to(generator.device)
                sample_latents(generator.sampled, **parts)


@contextmanager
def join_team(hardware: HardwareConfig) -> Iterator[Team | None]:
    """Join this process' team while the block runs; None where every process works alone.

    Consecutive processes are a team. The first half of it computes the conditional branch where
    `guidance_parallel` is set.
    """
    size, share = hardware.processes_per_clip, hardware.context_parallel
    if size == 1:
        yield None
        return
    backend = "gloo"
    if hardware.device.type == "cuda":
        torch.cuda.set_device(hardware.device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    world = list(range(dist.get_world_size()))
    teams = [world[start : start + size] for start in world[::size]]
    branches = None
    if hardware.guidance_parallel:
        branches = _own_group([team[at::share] for team in teams for at in range(share)])
    contexts = [world[start : start + share] for start in world[::share]]
    team = Team(_own_group(teams), _own_group(contexts), branches)
    try:
        yield team
    finally:
        if team.leads:
            team.end()
    # After an error, other processes may never come to the end of the group.
    dist.destroy_process_group()


def _own_group(ranks: list[list[int]]) -> dist.ProcessGroup:
    """Returns the group that this process is in; all processes make all groups."""
    own, _ = dist.new_subgroups_by_enumeration(ranks, timeout=PATIENCE)
    assert isinstance(own, dist.ProcessGroup), f"no group of this process among {ranks}"
    return own


def check_shares(
    hardware: HardwareConfig, network: TransformerConfig, settings: ClipSettings
) -> None:
    """Raise `InputError` if the processes of a clip cannot share its work equally."""
    cells = (settings.height // TOKEN_PIXELS) * (settings.width // TOKEN_PIXELS)
    counts = {
        "attention heads of the weights": network.num_attention_heads,
        "tokens of a clip": latent_frames(settings.piece_frames) * cells,
    }
    for what, count in counts.items():
        if count % hardware.context_parallel:
            expected = f"a divisor of the {count} {what}"
            raise InputError("--context_parallel", hardware.context_parallel, expected)
    if hardware.guidance_parallel and settings.guidance == 0:
        raise InputError(
            "--guidance_parallel", True, "a --guidance above 0, which has two branches"
        )
