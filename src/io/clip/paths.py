"""The paths of a clip's files and the clips in a folder; `clip.py` describes the contents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime import InputError
from .packed import as_path

SUFFIXES = {
    "rgb": ".mp4",
    "pose": ".npz",
    "intrinsics": ".npz",
    "latent": ".pkl",
    "depth": ".zip",
    "meta": ".json",
}
LONGEST_NUMBER = 18
# Published roots may hold a file of this name.
NOT_A_TRAJECTORY = "flag"


@dataclass(frozen=True)
class ClipPaths:
    """The paths of one clip's files; with an empty `trajectory` they lie in the root."""

    root: Path
    trajectory: str
    key: str

    def __post_init__(self) -> None:
        for name, value in (("clip key", self.key), ("trajectory", self.trajectory)):
            if "/" in value or "\0" in value or value.startswith("."):
                raise InputError(name, repr(value), "a file name that is not hidden")
        if not self.key:
            raise InputError("clip key", repr(self.key), "a file name")

    def part(self, name: str) -> Path:
        """The file of the part `rgb`, `pose`, `intrinsics`, `latent`, `depth` or `meta`."""
        return self.root / self.trajectory / name / f"{self.key}{SUFFIXES[name]}"

    @property
    def rgb(self) -> Path:
        """H.264 video, every frame of the clip."""
        return self.part("rgb")

    @property
    def pose(self) -> Path:
        """Camera-to-world poses."""
        return self.part("pose")

    @property
    def intrinsics(self) -> Path:
        """Intrinsics in pixels of the video."""
        return self.part("intrinsics")

    @property
    def latent(self) -> Path:
        """Latents of the whole clip."""
        return self.part("latent")

    @property
    def depth(self) -> Path:
        """Depth maps."""
        return self.part("depth")

    @property
    def meta(self) -> Path:
        """How the clip was made; exists only for a finished clip."""
        return self.part("meta")


def list_trajectories(root: Path | str) -> list[str]:
    """The names of the trajectory folders under `root`, numbers in numeric order."""
    root = as_path(root)
    if not root.is_dir():
        raise InputError(root, "no such folder", "a folder with one folder for each trajectory")
    names = [path.name for path in root.iterdir() if path.is_dir()]
    names = [name for name in names if name != NOT_A_TRAJECTORY and not name.startswith(".")]
    return sorted(names, key=_natural)


def list_keys(root: Path | str, trajectories: Sequence[str] | None = None) -> list[str]:
    """The keys of clips, numbers in numeric order; `InputError` where `trajectories` differ."""
    root = as_path(root)
    names = list_trajectories(root) if trajectories is None else trajectories
    found = {name: _keys_of(root / name / "rgb") for name in names}
    keys = {key for present in found.values() for key in present}
    if not keys:
        raise InputError(root, "no <trajectory>/rgb/<key>.mp4", "a folder of clips")
    for name, present in found.items():
        if keys - present:
            key = min(keys - present, key=_natural)
            other = next(other for other in found if key in found[other])
            expected = f"a clip {key!r} in every trajectory folder, as in {root / other}"
            raise InputError(ClipPaths(root, name, key).rgb, "no such file", expected)
    return sorted(keys, key=_natural)


def _keys_of(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return {name.removesuffix(".mp4") for name in names if name.endswith(".mp4")}


def _natural(name: str) -> tuple[bool, int, str]:
    # Python refuses numbers of thousands of digits; a name in a tar part may have them.
    numeric = name.isascii() and name.isdecimal() and len(name) <= LONGEST_NUMBER
    return (not numeric, int(name) if numeric else 0, name)
