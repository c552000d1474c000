"""Weights on disk: their places under a checkpoint folder, published, diffusers' or our own.

A part is one network with its files; a place is a path where it may lie, relative to the checkpoint
folder. `assets/nano` is a checkpoint folder, too. The modules read files and never run their code.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..runtime import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
NANO_ASSETS = REPOSITORY / "assets" / "nano"
TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"
# The published training configurations add this folder.
DEEPER = "cosmos_predict1"
DIFFUSERS = "diffusion_pytorch_model.safetensors"
# The moving average of the weights in the checkpoints of a training.
AVERAGE = "average.safetensors"


@dataclass(frozen=True)
class Place:
    """A file, or a folder with all of `files` in it."""

    path: str
    files: tuple[str, ...] = ()

    def missing(self, root: Path) -> list[str]:
        """The missing files under `root`."""
        wanted = [f"{self.path}/{file}" for file in self.files] or [self.path]
        return [name for name in wanted if not (root / name).is_file()]


def _folders(folders: tuple[str, ...], *contents: tuple[str, ...]) -> tuple[Place, ...]:
    """Places for every folder with each of the contents."""
    return tuple(Place(folder, files) for folder in folders for files in contents)


# Earlier places win. The root itself (".") comes last: a file named `model.pt` alone says little.
PLACES: dict[str, tuple[Place, ...]] = {
    "generator": _folders(
        ("Gen3C-Cosmos-7B", "GEN3C-Cosmos-7B", "transformer", "generator", "."),
        (f"{DIFFUSERS}.index.json",),
        (DIFFUSERS,),
        ("model.pt",),
    ),
    "tokenizer": _folders(
        (TOKENIZER, f"{DEEPER}/{TOKENIZER}", "tokenizer", "vae", "."),
        # In a published folder model.pt is a training's state, and config.json is not ours.
        ("mean_std.pt", "encoder.jit", "decoder.jit"),
        ("mean_std.pt", "autoencoder.jit"),
        ("mean_std.pt", "model.pt"),
        ("config.json", "encoder.safetensors", "decoder.safetensors"),
        ("config.json", DIFFUSERS),
    ),
    "t5": _folders(
        ("google-t5/t5-11b", "t5"),
        ("config.json", "pytorch_model.bin"),
        ("config.json", "model.safetensors"),
        ("config.json", "model.safetensors.index.json"),
    ),
    "decoder_static": (
        Place("Lyra/lyra_static.pt"),
        Place("lyra_static.pt"),
        Place("decoder_static", ("config.json", "model.safetensors")),
    ),
    "decoder_dynamic": (
        Place("Lyra/lyra_dynamic.pt"),
        Place("lyra_dynamic.pt"),
        Place("decoder_dynamic", ("config.json", "model.safetensors")),
    ),
    "depth": _folders(("depth",), ("config.json", "model.safetensors")),
    "moge": (Place("moge/model.pt"),),
    "depth_anything": _folders(("depth_anything",), ("config.json", "model.safetensors")),
    "video_depth_anything": (Place("video_depth_anything/metric_video_depth_anything_vits.pth"),),
    "lpips": _folders(("lpips",), ("vgg16-397923af.pth", "vgg.pth")),
}


def find_checkpoint(part: str, *roots: Path | str) -> Path:
    """The file or folder of `part` (a key of `PLACES`) under the first of `roots` that has it.

    A root that is a file means its folder. Raises `InputError` with every place and the files that
    are missing there.
    """
    found = search_checkpoint(part, *roots)
    if found is not None:
        return found
    looked = [f"{root / place.path}{_state(root, place)}" for root, place in _looks(part, roots)]
    expected = "its files in one of: " + "; ".join(dict.fromkeys(looked))
    names = " or ".join(str(root) for root in roots)
    raise InputError(names, f"no weights of the {part.replace('_', ' ')}", expected)


def search_checkpoint(part: str, *roots: Path | str) -> Path | None:
    """As `find_checkpoint`, but None where no root has the part."""
    assert part in PLACES and roots, f"{part} under {roots}, parts {sorted(PLACES)}"
    looks = _looks(part, roots)
    return next((root / place.path for root, place in looks if not place.missing(root)), None)


def find_named(part: str, folder: Path | str, setting: str) -> Path:
    """As `search_named`, but raises `InputError` where the weights are not there."""
    found = search_named(part, folder)
    if found is not None:
        return found
    sets = " or ".join(" + ".join(files) for files in file_sets(part))
    found = f"no weights of the {part.replace('_', ' ')}"
    raise InputError(f"{setting}={folder}", found, f"{sets}, there or at a published place")


def search_named(part: str, folder: Path | str) -> Path | None:
    """The weights of `part` in a folder that a setting names; None where they are not there.

    A relative folder is searched here, then in the repository. The tokenizer has two published
    places; a setting that names one finds it at the other, too.
    """
    folder = Path(folder).expanduser()
    for base in dict.fromkeys((folder, REPOSITORY / folder)):
        roots = [base]
        if base.name == TOKENIZER:
            inner = base.parent.name == DEEPER
            roots += [base.parents[1] if inner else base.parent]
        found = search_checkpoint(part, *roots)
        if found is not None:
            return found
    return None


def layout(part: str, folder: Path) -> tuple[str, ...] | None:
    """The first complete set of files of `part` in `folder`, or None."""
    sets = file_sets(part)
    return next((files for files in sets if not Place(".", files).missing(folder)), None)


def file_sets(part: str) -> list[tuple[str, ...]]:
    """The sets of files that make a complete folder of `part`, best first."""
    return [*filter(None, dict.fromkeys(place.files for place in PLACES[part]))]


def _looks(part: str, roots: Iterable[Path | str]) -> Iterator[tuple[Path, Place]]:
    """Folders and the places to try there, best first."""
    for root in map(Path, roots):
        if not root.is_file():
            yield from ((root, place) for place in PLACES[part])
            continue
        # A named file means no other weights below its folder.
        own = [place for place in PLACES[part] if place.path == "."]
        yield from ((root.parent, place) for place in own or PLACES[part])


def _state(root: Path, place: Place) -> str:
    """What is missing at a place, in brackets."""
    if not place.files:
        return ""
    if not (root / place.path).is_dir():
        return " (no such folder)"
    missing = [Path(name).name for name in place.missing(root)]
    return f" (without {', '.join(missing)})"
