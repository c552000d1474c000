"""Data sets by name."""

from pathlib import Path

import pytest

from src.models.data.registry import DATASETS, resolve_dataset
from src.runtime import InputError


def test_published_sets_have_their_published_trajectories() -> None:
    """Would catch reversed trajectories that become inputs, and a renamed set."""
    names = {"static", "static_demo", "static_demo_generated"}
    names |= {"dynamic", "dynamic_demo", "dynamic_demo_generated"}
    assert set(DATASETS) == {f"lyra_{name}" for name in names}
    for name, spec in DATASETS.items():
        assert spec.is_static == ("static" in name)
        assert spec.buckets == tuple((str(number),) for number in range(6))
        assert (spec.scene_scale, spec.min_gap, spec.max_gap) == (1.0, 45, 121)
        expected = () if spec.is_static else tuple(map(str, range(6, 12)))
        assert spec.target_trajectories == expected


def test_the_folder_can_be_given() -> None:
    """Would catch a registry that is changed for everyone."""
    assert resolve_dataset("lyra_static", "clips").root == Path("clips")
    assert resolve_dataset("lyra_dynamic", Path("clips")).is_static is False
    assert DATASETS["lyra_static"].root != Path("clips")
    assert resolve_dataset("lyra_static_demo").root.parts[0] == "assets"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """Would catch a KeyError in the place of help."""
    with pytest.raises(InputError, match=r"lyra_statik.*did you mean 'lyra_static'"):
        resolve_dataset("lyra_statik", "clips")
    with pytest.raises(InputError, match="one of"):
        resolve_dataset("?")


def test_a_placeholder_folder_is_refused() -> None:
    """Would catch a search in /path/to/static."""
    with pytest.raises(InputError, match="dataset_root=FOLDER"):
        resolve_dataset("lyra_static")
