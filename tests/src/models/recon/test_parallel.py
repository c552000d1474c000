"""Two processes that share the decoder's attention give what one process gives."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import in_two_processes
from torch import Tensor

from src.models.recon.blocks import Attention
from src.models.recon.decoder import LatentRecon
from src.models.recon.parallel import DecoderTeam, join_team
from src.runtime import InputError

PATIENCE = timedelta(seconds=60)
Decoder = Callable[..., LatentRecon]
Inputs = Callable[..., list[Tensor]]
Work = Callable[[DecoderTeam | None], object]


def by_team(folder: Path, work: Work, size: int = 2) -> list[Any]:
    """What each of two processes returns in teams of `size`."""

    def joined() -> object:
        with join_team(size, PATIENCE) as team:
            return work(team)

    return in_two_processes(folder, joined)


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

    together, loads = by_team(tmp_path, work)
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

    def work() -> str:
        try:
            with join_team(2, PATIENCE) as team:
                assert team is not None
                if team.leads:
                    raise RuntimeError("an unreadable scene")
                team.follow(lambda: pytest.fail("nothing was asked for"))
        except RuntimeError as error:
            return str(error)
        return "home"

    assert in_two_processes(tmp_path, work) == ["an unreadable scene", "home"]


def test_a_leader_that_fails_in_the_middle_ends(
    tmp_path: Path, decoder: Decoder, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that tells its end to processes which wait for its heads, and hangs itself."""
    model, mix = decoder(), Attention.mix

    def failing(self: Attention, tokens: Tensor, heads: slice | None = None) -> Tensor:
        if dist.get_rank() == 0:
            raise MemoryError("no memory")
        return mix(self, tokens, heads)

    monkeypatch.setattr(Attention, "mix", failing)

    def work() -> str:
        # The other process hears nothing; its connection breaks when the leader has ended.
        failure = pytest.raises((MemoryError, RuntimeError))
        with failure as caught, join_team(2, PATIENCE) as team:
            assert team is not None
            team.follow(lambda: model) if not team.leads else team.share(model)
            model(*inputs(1))
        return type(caught.value).__name__

    assert in_two_processes(tmp_path, work)[0] == "MemoryError"


def test_one_process_is_no_team(tmp_path: Path) -> None:
    """An exchange between processes that have scenes of their own."""
    assert by_team(tmp_path, lambda team: team is None, size=1) == [True, True]
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

    assert by_team(tmp_path, refused) == [True, True]
