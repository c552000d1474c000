"""What every run needs."""

import tempfile

import pytest
import torch

from src.runtime import InputError, can_compile, core_pool, without_memory


def test_threads_of_a_pool_compute_alone_and_the_caller_as_before() -> None:
    """Threads that share out what each of them does, or a caller left with one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with core_pool(torch.device("cpu")) as pool:
            told = [pool.submit(torch.get_num_threads) for _ in range(2)]
            assert [future.result() for future in told] == [1, 1]
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), core_pool(torch.device("cpu")):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_nothing_is_compiled_for_the_cpu() -> None:
    """A compiler that starts where it takes longer than it saves."""
    assert not can_compile(torch.device("cpu"), torch.add)


def test_a_full_disk_is_named_before_torch_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback of torch's, which looks for a folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    words = "temporary files: got no folder .*TMPDIR"
    with pytest.raises(InputError, match=words), without_memory():
        pass
    monkeypatch.undo()
    with without_memory():
        assert torch.nn.Linear(2, 2).weight.is_meta
