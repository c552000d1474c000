"""The data sets by name: the one file to edit for your own data.

A data set is a folder `<root>/<trajectory>/{rgb,pose,intrinsics,latent,depth}/<scene>.*`, or that
folder packed in tar parts (a folder of them, or a pattern such as `data/part-*.tar`), which are
read in place. `dataset_root=FOLDER` on the command line replaces the folder of a set below.
"""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from ...io.clip.packed import open_root
from ...runtime import InputError

PLACEHOLDER = Path("/path/to")


@dataclass(frozen=True)
class DatasetSpec:
    """The folder of a data set, and the roles of its trajectories.

    Attributes:
        root: folder of the trajectory folders; relative paths start at the working directory.
        is_static: nothing moves; otherwise a frame number is a moment of the scene.
        has_latents: clips come with latents (stages that read pictures ignore them).
        latents_normalised: latents on disk are normalised and times 0.5, as the generator writes
            them; otherwise raw.
        source_trajectories: possible inputs; None for every folder.
        target_trajectories: may supervise a dynamic scene beside its inputs.
        buckets: groups of similar trajectories, together all sources; `random_bucket` draws one
            of each group.
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


# Left, right, up, zoom out, zoom in, spiral; then the same six from the time-reversed video, which
# supervise dynamic scenes: at any time they see the scene from another position.
FORWARD = ("0", "1", "2", "3", "4", "5")
REVERSED = ("6", "7", "8", "9", "10", "11")
ONE_EACH = tuple((name,) for name in FORWARD)


STATIC = DatasetSpec(Path("/path/to/static"), is_static=True, buckets=ONE_EACH)
DYNAMIC = DatasetSpec(
    Path("/path/to/dynamic"),
    is_static=False,
    source_trajectories=FORWARD,
    target_trajectories=REVERSED,
    buckets=ONE_EACH,
)
DEMO = Path("assets/demo")
DATASETS: dict[str, DatasetSpec] = {
    "lyra_static": STATIC,
    "lyra_dynamic": DYNAMIC,
    "lyra_static_demo": replace(STATIC, root=DEMO / "static/diffusion_output"),
    "lyra_static_demo_generated": replace(STATIC, root=DEMO / "static/diffusion_output_generated"),
    "lyra_dynamic_demo": replace(DYNAMIC, root=DEMO / "dynamic/diffusion_output"),
    "lyra_dynamic_demo_generated": replace(
        DYNAMIC, root=DEMO / "dynamic/diffusion_output_generated"
    ),
}


def resolve_dataset(name: str, dataset_root: Path | str | None = None) -> DatasetSpec:
    """Returns the data set `name`, with `dataset_root` as its folder if given.

    Raises `InputError` for an unknown name (with the nearest known one), a placeholder as the
    folder, tar parts that cannot be read (see `open_root`).
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError("dataset_name", repr(name), f"one of {sorted(DATASETS)}{hint}")
    spec = DATASETS[name]
    if dataset_root is None and spec.root.is_relative_to(PLACEHOLDER):
        expected = "dataset_root=FOLDER, or the folder in src/models/data/registry.py"
        raise InputError(f"dataset {name!r}", f"the placeholder {spec.root}", expected)
    return replace(spec, root=open_root(spec.root if dataset_root is None else dataset_root))
