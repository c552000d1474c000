"""Reads and writes the generator's tensors: a published `model.pt`, or a folder of safetensors.

A folder in diffusers' layout holds one file or several shards with an index. Files are mapped into
memory where their format allows it, so that reading costs no second copy.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from src.io.atomic import atomic_path
from src.io.state_dict import listed, read_safetensors
from src.runtime import InputError

from .convert import our_name, to_our_names

PUBLISHED_FILE = "model.pt"
STEM = "diffusion_pytorch_model"
SAFETENSORS_FILE = f"{STEM}.safetensors"
INDEX_FILE = f"{SAFETENSORS_FILE}.index.json"
UNREADABLE = (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, EOFError, OSError)


def read_state(folder: Path) -> dict[str, Tensor]:
    """All tensors of `folder` under our names, on the CPU, memory-mapped where possible.

    Raises:
        InputError: an unreadable or missing file, or one that holds something else.
    """
    if (folder / INDEX_FILE).is_file():
        state: dict[str, Tensor] = {}
        for shard in _shards(folder / INDEX_FILE):
            state |= read_safetensors(folder / shard)
        return state
    if (folder / SAFETENSORS_FILE).is_file():
        return read_safetensors(folder / SAFETENSORS_FILE)
    return to_our_names(_read_published(folder / PUBLISHED_FILE))


def write_state(
    state: Mapping[str, Tensor],
    folder: Path,
    max_shard_bytes: int,
    dtype: torch.dtype | None = None,
) -> None:
    """Write tensors in diffusers' layout (as `dtype`), each file atomically, the index last.

    What an earlier, differently cut set of shards left in `folder` is not removed; the index
    decides which files count.
    """
    sizes = {name: part.numel() * (dtype or part.dtype).itemsize for name, part in state.items()}
    shards = list(_cut(sizes, max_shard_bytes))
    if len(shards) == 1:
        _write_safetensors(state, shards[0], folder / SAFETENSORS_FILE, dtype)
        # The index has precedence when the folder is read.
        (folder / INDEX_FILE).unlink(missing_ok=True)
        return
    places: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"{STEM}-{number:05}-of-{len(shards):05}.safetensors"
        _write_safetensors(state, names, folder / file, dtype)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
    with atomic_path(folder / INDEX_FILE) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _shards(index: Path) -> list[str]:
    """The names of the shard files that an index lists."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(index, f"malformed ({error})", "an index with a weight_map") from error
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise InputError(index, f"shard {shard!r}", "the name of a file beside the index")
    return shards


def _write_safetensors(
    state: Mapping[str, Tensor], names: list[str], path: Path, dtype: torch.dtype | None
) -> None:
    tensors = {name: state[name].detach().to("cpu", dtype).contiguous() for name in names}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def _read_published(path: Path) -> dict[str, Tensor]:
    """The state dict of a published file, whole or under `model`; nothing in it is executed."""
    expected = "a torch checkpoint of tensors by name"
    try:
        # Layers for fp8 leave their (empty) state as byte buffers, which are data and no more.
        with torch.serialization.safe_globals([io.BytesIO]):
            mapped = zipfile.is_zipfile(path)
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UNREADABLE as error:
        raise InputError(path, f"unreadable ({error})", expected) from error
    if isinstance(value, Mapping) and isinstance(value.get("model"), Mapping):
        value = value["model"]
    if not isinstance(value, Mapping):
        raise InputError(path, f"a {type(value).__name__}", expected)
    kept = {str(name): part for name, part in value.items() if our_name(str(name)) is not None}
    foreign = [name for name, part in kept.items() if not isinstance(part, Tensor)]
    if foreign:
        raise InputError(path, f"no tensors under {listed(foreign)}", expected)
    return kept


def _cut(sizes: Mapping[str, int], max_bytes: int) -> Iterator[list[str]]:
    """Names in order, cut into runs of at most `max_bytes` (or of one larger tensor)."""
    names: list[str] = []
    total = 0
    for name, size in sizes.items():
        if names and total + size > max_bytes:
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    yield names
