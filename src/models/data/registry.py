"""The data sets by name: the one file to edit for data of one's own.

A data set is a folder `<root>/<trajectory>/{rgb,pose,intrinsics,latent,depth}/<scene>.*`, or such a
folder packed in tar parts: a folder of them or a pattern (`data/part-*.tar`), read as they are. To
use others with the rules of a set below, `dataset_root=FOLDER` on the command line is enough.
"""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from ...io.clip.packed import open_root
from ...runtime import InputError

PLACEHOLDER = Path("/path/to")


@dataclass(frozen=True)
class DatasetSpec:
    """Where the clips of a data set lie, and what their trajectories are for.

    Attributes:
        root: folder of the trajectory folders; relative paths start at the working directory.
        is_static: nothing moves; otherwise a frame number is a moment of the scene.
        has_latents: clips come with latents (stages that read pictures ignore them).
        latents_normalised: the latents on disk are normalised ones times 0.5, as the generator
            leaves them; otherwise raw ones.
        source_trajectories: those that may be inputs; None for every folder there is.
        target_trajectories: those that may supervise a dynamic scene beside its inputs.
        buckets: groups of like trajectories, of which `random_bucket` draws one each; together
            they are all source trajectories.
        scene_scale: factor on all translations.
        min_gap: least number of frames between first and last input of a long static video.
        max_gap: greatest such number.
    """

    root: Path
    is_static: bool
    has_latents: bool = True
    latents_normalised: bool = True
    source_trajectories: tuple[str, ...] | None = None
    target_trajectories: tuple[str, ...] = ()
    buckets: tuple[tuple[str, ...], ...] | None = None
    scene_scale: float = 1.0
    min_gap: int = 45
    max_gap: int = 121


# Left, right, up, zoom out, zoom in, spiral; the same six again from the time-reversed video,
# which supervise dynamic scenes: at any time they see the scene from another position.
FORWARD = ("0", "1", "2", "3", "4", "5")
REVERSED = ("6", "7", "8", "9", "10", "11")
ONE_EACH = tuple((name,) for name in FORWARD)


def _static(root: str) -> DatasetSpec:
    return DatasetSpec(Path(root), is_static=True, buckets=ONE_EACH)


def _dynamic(root: str) -> DatasetSpec:
    return DatasetSpec(
        Path(root),
        is_static=False,
        source_trajectories=FORWARD,
        target_trajectories=REVERSED,
        buckets=ONE_EACH,
    )


DATASETS: dict[str, DatasetSpec] = {
    "lyra_static": _static("/path/to/static"),
    "lyra_dynamic": _dynamic("/path/to/dynamic"),
    "lyra_static_demo": _static("assets/demo/static/diffusion_output"),
    "lyra_static_demo_generated": _static("assets/demo/static/diffusion_output_generated"),
    "lyra_dynamic_demo": _dynamic("assets/demo/dynamic/diffusion_output"),
    "lyra_dynamic_demo_generated": _dynamic("assets/demo/dynamic/diffusion_output_generated"),
}


def resolve_dataset(name: str, dataset_root: Path | str | None = None) -> DatasetSpec:
    """The data set `name`, its folder replaced by `dataset_root` where that is given.

    Raises:
        InputError: an unknown name (with the nearest known one), a set whose folder is still the
            placeholder, tar parts that cannot be read (see `open_root`).
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError("dataset_name", repr(name), f"one of {sorted(DATASETS)}{hint}")
    spec = DATASETS[name]
    if dataset_root is not None:
        return replace(spec, root=open_root(dataset_root))
    if spec.root.is_relative_to(PLACEHOLDER):
        expected = "dataset_root=FOLDER, or the folder in src/models/data/registry.py"
        raise InputError(f"dataset {name!r}", f"the placeholder {spec.root}", expected)
    return replace(spec, root=open_root(spec.root))
