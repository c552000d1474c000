"""The scenes of a data set by key, and their split into training and validation."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ...io.clip.clip import ClipPaths, list_keys, list_trajectories
from ...runtime import InputError, get_logger
from .registry import DatasetSpec
from .sampling import ExampleSamplingConfig, Mode

Split = Literal["all", "train", "validation"]
LOGGER = get_logger(__name__)


def with_sources(spec: DatasetSpec, sampling: ExampleSamplingConfig) -> DatasetSpec:
    """Names the sources of `spec`, by default all folders but targets; `InputError` for no root."""
    if sampling.trajectory_sampling == "empty":
        return replace(spec, source_trajectories=("",))
    if spec.source_trajectories is not None:
        return spec
    there = list_trajectories(spec.root)
    sources = [name for name in there if name not in spec.target_trajectories]
    return replace(spec, source_trajectories=tuple(sources))


def input_trajectories(spec: DatasetSpec, sampling: ExampleSamplingConfig) -> tuple[str, ...]:
    """Returns the trajectories that may be inputs, in order."""
    if sampling.trajectory_sampling == "fixed":
        return tuple(sampling.fixed_trajectories or ())
    return spec.source_trajectories or ()


def used_trajectories(spec: DatasetSpec, sampling: ExampleSamplingConfig, mode: Mode) -> list[str]:
    """Returns the trajectories that every scene must have a clip of, each once.

    Raises:
        InputError: a trajectory without a folder; the message lists the existing ones.
    """
    names = [*input_trajectories(spec, sampling)]
    if mode == "train" and not spec.is_static and not sampling.targets_from_inputs:
        names += [*(spec.source_trajectories or ()), *spec.target_trajectories]
    there = list_trajectories(spec.root)
    missing = [name for name in dict.fromkeys(names) if name and name not in there]
    if missing or not names:
        raise InputError(spec.root, f"no trajectory {missing}", f"trajectories among {there}")
    return list(dict.fromkeys(names))


def find_scenes(
    spec: DatasetSpec, trajectories: Sequence[str], skip_unreadable: bool
) -> tuple[list[str], dict[str, str]]:
    """Returns the keys of the scenes in name order, and the skipped ones with the reason.

    Raises:
        InputError: no scenes; without `skip_unreadable`, a scene without one of its clips.
    """
    if not skip_unreadable:
        return list_keys(spec.root, trajectories), {}
    found = {name: list_keys(spec.root, [name]) for name in trajectories}
    present = {name: set(keys) for name, keys in found.items()}
    skipped = {}
    for key in dict.fromkeys(key for keys in found.values() for key in keys):
        missing = [name for name in trajectories if key not in present[name]]
        if missing:
            skipped[key] = f"{ClipPaths(spec.root, missing[0], key).rgb}: no such file"
    complete = [key for key in found[trajectories[0]] if key not in skipped]
    if skipped:
        LOGGER.warning("%s: left out, clips are missing: %s", spec.root, sorted(skipped))
    if not complete:
        expected = f"a scene with a clip in each of {list(trajectories)}"
        raise InputError(spec.root, f"{len(skipped)} scenes, all incomplete", expected)
    return complete, skipped


def split_scenes(keys: Sequence[str], split: Split, num_validation: int) -> list[str]:
    """Returns the keys of one part, in order; `train` and `validation` are disjoint.

    Validation has `num_validation` scenes, at most half of all: the ones with the lowest hashes,
    which mostly stay the same when scenes are added.
    """
    if split == "all":
        return list(keys)
    number = min(num_validation, len(keys) // 2)
    by_hash = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    held_out = set(by_hash[:number])
    return [key for key in keys if (key in held_out) == (split == "validation")]
