"""Data sets by name."""

import tarfile
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from src.models.data.dataset import ClipDataset
from src.models.data.loader import ExampleLoader
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DATASETS, resolve_dataset
from src.models.data.sampling import ExampleSamplingConfig
from src.runtime import InputError
from src.tokenizer.cosmos import LatentStatistics


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


def test_tar_parts_take_the_place_of_a_folder(
    static_clips: Any, statistics: LatentStatistics, tmp_path: Path
) -> None:
    """Packed scenes that are others than the unpacked ones, in this process or in a worker."""
    files = sorted(path for path in static_clips.root.rglob("*") if path.is_file())
    for number in range(2):
        with tarfile.open(tmp_path / f"part-{number}.tar", "w") as archive:
            for path in files[number::2]:
                archive.add(path, path.relative_to(static_clips.root))
    sampling = ExampleSamplingConfig(num_input_frames=9, num_targets=2, max_trajectories=3)
    reading = ReadingConfig(depth=True)
    batches = []
    for root in (static_clips.root, tmp_path / "part-*.tar", str(tmp_path)):
        spec = resolve_dataset("lyra_static", root)
        spec = replace(spec, buckets=None)
        parts = (spec, sampling, (16, 32), "train")
        dataset = ClipDataset(*parts, statistics=statistics, reading=reading)
        workers = 0 if len(batches) < 2 else 1
        batches.append(list(islice(ExampleLoader(dataset, 2, workers), 2)))
    for found in batches[1:]:
        for ours, theirs in zip(chain(*found), chain(*batches[0]), strict=True):
            assert ours.key == theirs.key and ours.trajectories == theirs.trajectories
            assert torch.equal(ours.latents, theirs.latents)
            assert torch.equal(ours.cameras.c2w, theirs.cameras.c2w)
            assert torch.equal(ours.targets.color, theirs.targets.color)
            assert torch.equal(ours.targets.depth, theirs.targets.depth)
