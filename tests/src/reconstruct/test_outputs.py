"""Where results lie, and when a scene counts as finished."""

from pathlib import Path

import pytest

from src.reconstruct.config import FOLDERS, OutputConfig, OutputTree
from src.runtime import InputError

CHECKPOINT = Path("outputs/training/x/checkpoint-83000/pytorch_model/mp_rank_00_model_states.pt")


@pytest.mark.parametrize(
    ("checkpoint", "trajectories", "dataset", "time", "expected"),
    [
        (Path("lyra.pt"), None, None, None, "out"),
        (CHECKPOINT, None, None, None, "out/checkpoint-83000"),
        (
            CHECKPOINT,
            ["5", "0", "1"],
            "lyra_dynamic_demo",
            60,
            "out/checkpoint-83000/static_view_indices_fixed_5_0_1/lyra_dynamic_demo/60",
        ),
        (Path("lyra.pt"), ["0"], "set", 0, "out/static_view_indices_fixed_0/set/0"),
    ],
)
def test_the_folder_is_the_published_one(
    checkpoint: Path,
    trajectories: list[str] | None,
    dataset: str | None,
    time: int | None,
    expected: str,
) -> None:
    """A level that is missing or in another place; time 0 taken for no time."""
    tree = OutputTree.at(Path("out"), checkpoint, trajectories, dataset, time)
    assert tree.root == Path(expected)


def test_all_published_folders_are_made(tmp_path: Path) -> None:
    """A tool that looks for an empty folder and finds none."""
    OutputTree(tmp_path / "a").make_folders()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(FOLDERS)


@pytest.mark.parametrize("settings", [{"fps": 0}, {"fps": -24}, {"grid_scenes": 0}])
def test_senseless_settings_are_refused(settings: dict) -> None:
    """A video without frames a second, or a division by zero scenes."""
    with pytest.raises(InputError):
        OutputConfig(**settings)
