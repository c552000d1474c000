"""Two processes that share the decoder's attention give what one process gives."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from src.models.recon.blocks import Attention
from src.models.recon.decoder import LatentRecon
from src.models.recon.parallel import DecoderTeam, join_team
from src.runtime import InputError

PATIENCE = timedelta(seconds=60)
Decoder = Callable[..., LatentRecon]
Inputs = Callable[..., list[Tensor]]
Work = Callable[[DecoderTeam | None], object]


def in_process(rank: int, folder: Path, work: Work, size: int) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    with join_team(size, PATIENCE) as team:
        found = work(team)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def in_two_processes(folder: Path, work: Work, size: int = 2) -> list[Any]:
    """What each of two processes returns."""
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=in_process, args=(rank, folder, work, size)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_team_gives_what_one_process_gives(
    tmp_path: Path, decoder: Decoder, inputs: Inputs, dtype: torch.dtype
) -> None:
    """Heads in another order, lost, or of other weights; a team that serves one scene only."""
    model = decoder().to(dtype)
    scenes = [[part.to(dtype) for part in inputs(count)] for count in (2, 1)]
    with torch.inference_mode():
        alone = [model(*scene).gaussians.packed().clone() for scene in scenes]

    def work(team: DecoderTeam | None) -> object:
        assert team is not None
        loaded: list[LatentRecon] = []

        def load() -> LatentRecon:
            loaded.append(model)
            return model

        if not team.leads:
            team.follow(load)
            return len(loaded)
        team.share(model)
        with torch.inference_mode():
            return [model(*scene).gaussians.packed().clone() for scene in scenes]

    together, loads = in_two_processes(tmp_path, work)
    assert loads == 1
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for found, expected in zip(together, alone, strict=True):
        distance = (found.float() - expected.float()).norm() / expected.float().norm()
        assert distance < tolerance


def test_each_process_computes_its_heads_alone(decoder: Decoder) -> None:
    """A share that is computed twice, or by one process for all."""
    model = decoder()
    block = next(part for part in model.modules() if isinstance(part, Attention))
    tokens = torch.randn(1, 5, 64)
    parts = [block.mix(tokens, slice(start, start + 1)) for start in range(2)]
    assert [part.shape for part in parts] == [(1, 5, 32)] * 2
    torch.testing.assert_close(torch.cat(parts, dim=-1), block.mix(tokens))


def test_an_error_of_the_leader_sends_the_others_home(tmp_path: Path) -> None:
    """A process that waits for a week for a leader that has failed."""

    def work(team: DecoderTeam | None) -> object:
        assert team is not None
        if team.leads:
            return "nothing to decode"
        team.follow(lambda: pytest.fail("nothing was asked for"))
        return "home"

    assert in_two_processes(tmp_path, work) == ["nothing to decode", "home"]


def test_one_process_is_no_team(tmp_path: Path) -> None:
    """An exchange between processes that have scenes of their own."""
    assert in_two_processes(tmp_path, lambda team: team is None, size=1) == [True, True]
    with join_team(1, PATIENCE) as team:
        assert team is None


def test_what_cannot_be_shared_is_refused(tmp_path: Path, decoder: Decoder) -> None:
    """Heads that are computed twice or by nobody; processes that wait for one that is not there."""

    def work(team: DecoderTeam | None) -> object:
        assert team is not None
        with pytest.raises(InputError, match="processes_per_scene: got 2.*divisor of the 1 heads"):
            team.share(decoder(heads=1))
        return True

    message = "processes_per_scene: got 2.*divisor of the 1 processes"
    with pytest.raises(InputError, match=message), join_team(2, PATIENCE):
        pytest.fail("a team of one process")

    def refused(team: DecoderTeam | None) -> object:
        if team is not None and not team.leads:
            team.follow(lambda: decoder())
            return True
        return work(team)

    assert in_two_processes(tmp_path, refused) == [True, True]
