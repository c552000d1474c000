"""Reads and writes the generator's tensors: a published `model.pt`, or a folder of safetensors.

A folder in diffusers' layout holds one file or several shards with an index. Files are mapped into
memory where their format allows it. Our names are those of diffusers' class; the tables name every
published tensor: `net.` and a name of `SHARED`, or `net.blocks.block<i>.` and a name of `BLOCK`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from src.checkpoints import DIFFUSERS, layout
from src.checkpoints.opening import open_weights, plain_names
from src.io.atomic import atomic_path
from src.io.damage import read_safetensors
from src.io.json_object import read_json_object, write_json
from src.runtime import InputError, listed

from .architecture import PUBLISHED_FILE

SAFETENSORS_FILE = DIFFUSERS
STEM = Path(DIFFUSERS).stem
INDEX_FILE = f"{SAFETENSORS_FILE}.index.json"
# A tensor of every generator; its name shows the prefix of all names.
MARKER = "net.x_embedder.proj.1.weight"
PREFIX = "net."
SHARED = {
    "x_embedder.proj.1.weight": "patch_embed.proj.weight",
    "extra_pos_embedder.pos_emb_t": "learnable_pos_embed.pos_emb_t",
    "extra_pos_embedder.pos_emb_h": "learnable_pos_embed.pos_emb_h",
    "extra_pos_embedder.pos_emb_w": "learnable_pos_embed.pos_emb_w",
    "t_embedder.1.linear_1.weight": "time_embed.t_embedder.linear_1.weight",
    "t_embedder.1.linear_2.weight": "time_embed.t_embedder.linear_2.weight",
    "affline_norm.weight": "time_embed.norm.weight",
    "final_layer.linear.weight": "proj_out.weight",
    "final_layer.adaLN_modulation.1.weight": "norm_out.linear_1.weight",
    "final_layer.adaLN_modulation.2.weight": "norm_out.linear_2.weight",
}
BLOCK = {
    "blocks.0.block.attn.to_q.0.weight": "attn1.to_q.weight",
    "blocks.0.block.attn.to_q.1.weight": "attn1.norm_q.weight",
    "blocks.0.block.attn.to_k.0.weight": "attn1.to_k.weight",
    "blocks.0.block.attn.to_k.1.weight": "attn1.norm_k.weight",
    "blocks.0.block.attn.to_v.0.weight": "attn1.to_v.weight",
    "blocks.0.block.attn.to_out.0.weight": "attn1.to_out.0.weight",
    "blocks.0.adaLN_modulation.1.weight": "norm1.linear_1.weight",
    "blocks.0.adaLN_modulation.2.weight": "norm1.linear_2.weight",
    "blocks.1.block.attn.to_q.0.weight": "attn2.to_q.weight",
    "blocks.1.block.attn.to_q.1.weight": "attn2.norm_q.weight",
    "blocks.1.block.attn.to_k.0.weight": "attn2.to_k.weight",
    "blocks.1.block.attn.to_k.1.weight": "attn2.norm_k.weight",
    "blocks.1.block.attn.to_v.0.weight": "attn2.to_v.weight",
    "blocks.1.block.attn.to_out.0.weight": "attn2.to_out.0.weight",
    "blocks.1.adaLN_modulation.1.weight": "norm2.linear_1.weight",
    "blocks.1.adaLN_modulation.2.weight": "norm2.linear_2.weight",
    "blocks.2.block.layer1.weight": "ff.net.0.proj.weight",
    "blocks.2.block.layer2.weight": "ff.net.2.weight",
    "blocks.2.adaLN_modulation.1.weight": "norm3.linear_1.weight",
    "blocks.2.adaLN_modulation.2.weight": "norm3.linear_2.weight",
}
# Not part of the network: rotary buffers, which are computed; the training's loss weighting and
# its counters; the state of fp8 layers; the conditioner.
DROPPED = re.compile(
    r"(net\.pos_embedder\.|logvar\.|conditioner\.|net\.accum_|accum_).*|.*_extra_state"
)
PUBLISHED_BLOCK = re.compile(r"net\.blocks\.block(\d+)\.(.+)")


def our_name(published: str) -> str | None:
    """Returns our name of a published tensor; None for a dropped one, an unknown name unchanged."""
    if DROPPED.fullmatch(published):
        return None
    match = PUBLISHED_BLOCK.fullmatch(published)
    if match and match[2] in BLOCK:
        return f"transformer_blocks.{match[1]}.{BLOCK[match[2]]}"
    if published.startswith(PREFIX):
        return SHARED.get(published.removeprefix(PREFIX), published)
    return published


def to_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors under our names, without the dropped ones."""
    renamed = ((our_name(name), tensor) for name, tensor in state.items())
    return {name: tensor for name, tensor in renamed if name is not None}


def read_state(folder: Path) -> dict[str, Tensor]:
    """Reads all tensors of `folder` under our names, on the CPU.

    Raises:
        InputError: an unreadable or missing file, or one that holds something else.
    """
    files = layout("generator", folder) or (PUBLISHED_FILE,)
    if INDEX_FILE in files:
        state: dict[str, Tensor] = {}
        for shard in listed_shards(folder / INDEX_FILE):
            state |= read_safetensors(folder / shard)
        return state
    if SAFETENSORS_FILE in files:
        return read_safetensors(folder / SAFETENSORS_FILE)
    return to_our_names(_read_published(folder / PUBLISHED_FILE))


def write_state(
    state: Mapping[str, Tensor],
    folder: Path,
    max_shard_bytes: int,
    dtype: torch.dtype | None = None,
    stem: str = STEM,
) -> None:
    """Write tensors in diffusers' layout (as `dtype`), each file atomically, the index last.

    Files are named `stem`. Shards of an earlier export stay in `folder`; the index decides which
    files count.
    """
    whole = f"{stem}.safetensors"
    listing = folder / f"{whole}.index.json"
    sizes = {name: part.numel() * (dtype or part.dtype).itemsize for name, part in state.items()}
    shards = list(_cut(sizes, max_shard_bytes))
    if len(shards) == 1:
        _write_safetensors(state, shards[0], folder / whole, dtype)
        # Readers prefer an index.
        listing.unlink(missing_ok=True)
        return
    places: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        _write_safetensors(state, names, folder / file, dtype)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
    write_json(listing, index)


def listed_shards(index: Path) -> list[str]:
    """Returns the names of the shard files that an index lists."""
    try:
        places = read_json_object(index)["weight_map"]
        shards = sorted(set(places.values()))
    except (KeyError, TypeError, AttributeError) as error:
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
    """Reads the network's tensors from a published file; executes nothing in it."""
    weights = open_weights(path)
    names = plain_names(dict.fromkeys([*weights.tensors, *weights.others]), MARKER)
    kept = {name: plain for name, plain in names.items() if our_name(plain) is not None}
    foreign = [name for name in kept if name not in weights.tensors]
    if foreign:
        expected = "a torch checkpoint of tensors by name"
        raise InputError(path, f"no tensors under {listed(foreign)}", expected)
    return weights.read(kept)


def _cut(sizes: Mapping[str, int], max_bytes: int) -> Iterator[list[str]]:
    """Yield runs of names of at most `max_bytes`, or of one larger tensor."""
    names: list[str] = []
    total = 0
    for name, size in sizes.items():
        if names and total + size > max_bytes:
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    yield names
