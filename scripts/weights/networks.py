"""The tensors of each part's files, compared with the network that loads them."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cosmos_predict1.diffusion.model.architecture import read_config
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.weights import MARKER as GENERATOR_MARKER
from cosmos_predict1.diffusion.model.weights import listed_shards, our_name
from src.checkpoints import layout
from src.checkpoints.opening import Unread, Weights, open_weights, plain_names
from src.depth.backends.nano import load_nano_depth
from src.evaluation.metrics import BACKBONE_FILE, CONVOLUTIONS, LINEAR_FILE, LPIPS, TAPS
from src.io.damage import check_tensors
from src.models.recon.decoder import MARKER as DECODER_MARKER
from src.models.recon.decoder import DecoderConfig, LatentRecon
from src.models.recon.decoder import read_config as read_decoder_config
from src.runtime import InputError, listed
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import (
    MARKERS,
    check_architecture,
    load_statistics,
    native_architecture,
    to_diffusers_names,
)
from src.tokenizer.loading import read_config as read_tokenizer_config

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
MOST_LETTERS = 300
# Keys that DeepSpeed keeps beside the weights.
DEEPSPEED = {"ds_config", "ds_version", "dp_world_size"}


class Finding(NamedTuple):
    """A line about a part, a file or a command."""

    state: Literal["ok", "note", "missing", "wrong"]
    where: object
    text: str

    def __str__(self) -> str:
        # Messages of libraries may have several lines.
        text = re.sub(r"\s+", " ", self.text)
        return f"{self.state:7} {self.where}: {text}"


def refused(error: InputError) -> Finding:
    """The finding for an input error."""
    return Finding("wrong", error.source, f"{error.value}; expected {error.expected}")


def describe(weights: Weights) -> Finding:
    """A note of a file's format, tensors, types and size, and of the wrappers of its tensors."""
    types = {str(part.dtype).removeprefix("torch.") for part in weights.tensors.values()}
    kind = "DeepSpeed" if DEEPSPEED & set(weights.beside) else weights.kind
    size = weights.path.stat().st_size
    text = f"{kind}, {len(weights.tensors)} tensors, {', '.join(sorted(types))}, {size:,} bytes"
    if weights.wrappers:
        beside = f" beside {', '.join(weights.beside[:6])}" if weights.beside else ""
        text += f", under {'.'.join(weights.wrappers)}{beside}"
    return Finding("note", weights.path, text)


def empty(tensors: Mapping[str, Unread]) -> dict[str, Tensor]:
    """Returns tensors of the same shapes and types, without memory."""
    return {
        name: torch.empty(part.shape, dtype=part.dtype, device="meta")
        for name, part in tensors.items()
    }


def compare(
    where: Path,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    name: str,
    size: int | None = None,
) -> Iterator[Finding]:
    """Yields the misfits of the tensors of a part, or one `ok`.

    `wanted` are the tensors of the network `name`, without memory; `size` is the count of numbers
    of the published one, None if any size may be there.
    """
    fits = True
    try:
        check_tensors(where, found, wanted, name)
    except InputError as error:
        fits = False
        hint, value = _other_size(found, wanted), str(error.value)
        if hint:
            # Most tensors differ: a few say as much as all.
            value = value[:MOST_LETTERS] + " ..."
        yield Finding("wrong", where, f"{hint}{value}; expected {error.expected}")
    odd = sorted({str(part.dtype) for part in found.values() if part.dtype not in FLOATS})
    count = sum(part.numel() for part in found.values())
    if fits and odd:
        expected = "bfloat16, float16 or float32"
        yield Finding("wrong", where, f"tensors of {', '.join(odd)}, not {expected}")
    elif fits and size not in (None, count):
        text = f"{count:,} numbers, another size than the published {size:,}"
        yield Finding("wrong", where, text)
    elif fits:
        text = f"all {len(found)} tensors of {name} fit, {count:,} numbers"
        yield Finding("ok", where, text)


def _other_size(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Returns the beginning of the message if all names or most of the shapes differ."""
    known = [name for name in wanted if name in found]
    other = [name for name in known if found[name].shape != wanted[name].shape]
    if not known:
        return "another part or network: not one of its names fits; "
    if len(other) > len(known) / 2:
        counts = [sum(p.numel() for p in part.values()) for part in (found, wanted)]
        return f"a network of another size ({counts[0]:,} numbers instead of {counts[1]:,}); "
    return ""


# Numbers of the published networks, and entries of their files with buffers and extra keys.
GENERATOR, GENERATOR_ENTRIES = 7_237_257_216, 574
TOKENIZER, TOKENIZER_ENTRIES = 105_653_696, 315
DECODER, DECODER_ENTRIES = 32_753_996, 254
STATISTICS = (16, 16)


def check_generator(folder: Path, published: bool) -> Iterator[Finding]:
    """Checks the generator's tensors; notes the known keys of published files beside them."""
    config = read_config(folder)
    with torch.device("meta"):
        wanted = Gen3CTransformer(config).state_dict()
    files, found = _files("generator", folder), dict[str, Tensor]()
    for file in files:
        weights = open_weights(folder / file)
        yield describe(weights)
        if not file.endswith(".pt"):
            found |= empty(weights.tensors)
            continue
        entries = dict.fromkeys([*weights.tensors, *weights.others])
        names = plain_names(entries, GENERATOR_MARKER)
        kept = {name: ours for name, plain in names.items() if (ours := our_name(plain))}
        yield from _entries(weights.path, len(entries), GENERATOR_ENTRIES if published else None)
        skipped = sorted(plain for name, plain in names.items() if name not in kept)
        if skipped:
            text = f"{len(skipped)} known entries without weights are skipped: {listed(skipped)}"
            yield Finding("note", weights.path, text)
        held = empty({name: part for name, part in weights.tensors.items() if name in kept})
        found |= {kept[name]: part for name, part in held.items()}
    where = folder / files[0] if len(files) == 1 else folder
    size = GENERATOR if published else None
    yield from compare(where, found, wanted, name="the generator", size=size)


def check_tokenizer(folder: Path, published: bool) -> Iterator[Finding]:
    """Checks encoder, decoder and statistics of the tokenizer."""
    files, found = layout("tokenizer", folder) or (), dict[str, Tensor]()
    native, entries = "config.json" not in files, 0
    for file in files:
        if file in ("config.json", "mean_std.pt"):
            continue
        weights = open_weights(folder / file)
        yield describe(weights)
        entries += len(weights.tensors)
        names = {name: name for name in weights.tensors}
        if native:
            half = Path(file).stem if Path(file).stem in MARKERS else "encoder"
            names = plain_names(weights.tensors, MARKERS[half])
            if MARKERS[half] not in names.values():
                text = f"no tensor {MARKERS[half]!r}: this is not the {half} of a video tokenizer"
                yield Finding("wrong", weights.path, text)
        found |= {names[name]: part for name, part in empty(weights.tensors).items()}
    try:
        if native:
            yield from _entries(folder, entries, TOKENIZER_ENTRIES if published else None)
            architecture: Mapping[str, object] = {} if published else native_architecture(found)
            found = to_diffusers_names(found)
        else:
            architecture = read_tokenizer_config(folder / "config.json")
            check_architecture(folder / "config.json", architecture, found)
        tokenizer = VideoTokenizer(architecture, torch.ones(16, 1), torch.ones(16, 1))
    except (KeyError, RuntimeError) as error:
        yield Finding("wrong", folder, f"no tensor {error}, so no video tokenizer")
        return
    wanted = tokenizer.autoencoder.state_dict()
    size = TOKENIZER if published else None
    yield from compare(folder, found, wanted, name="the video tokenizer", size=size)
    yield from _statistics(folder, published)


def check_decoder(path: Path, published: bool) -> Iterator[Finding]:
    """Checks a Gaussian decoder: a published file, or our folder."""
    config = DecoderConfig()
    if path.is_dir():
        config, path = read_decoder_config(path / "config.json"), path / "model.safetensors"
    with torch.device("meta"):
        wanted = LatentRecon(config).state_dict()
    weights = open_weights(path)
    yield describe(weights)
    names = plain_names(weights.tensors, DECODER_MARKER)
    yield from _entries(path, len(names), DECODER_ENTRIES if published else None)
    found = {names[name]: part for name, part in empty(weights.tensors).items()}
    size = DECODER if published else None
    yield from compare(path, found, wanted, name="the Gaussian decoder", size=size)


def check_lpips(folder: Path, _: bool) -> Iterator[Finding]:
    """Checks both files of the perceptual metric, without the classifier of the backbone."""
    with torch.device("meta"):
        wanted = LPIPS().state_dict()
    layers = {f"features.{index}.{kind}" for index in CONVOLUTIONS for kind in ("weight", "bias")}
    linear = {f"lin{index}.model.1.weight": f"linear.{index}" for index in range(len(TAPS))}
    found: dict[str, Tensor] = {}
    for file, names in ((BACKBONE_FILE, {n: n for n in layers}), (LINEAR_FILE, linear)):
        weights = open_weights(folder / file)
        yield describe(weights)
        held = empty(weights.tensors)
        found |= {new: held[name] for name, new in names.items() if name in held}
    yield from compare(folder, found, wanted, name="LPIPS")


def check_t5(folder: Path, _: bool) -> Iterator[Finding]:
    """Checks T5's encoder, whose file holds a decoder too."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        wanted = T5EncoderModel(config).state_dict()
    found: dict[str, Tensor] = {}
    for file in _files("t5", folder):
        weights = open_weights(folder / file)
        yield describe(weights)
        found |= empty(weights.tensors)
    # Two names of one tensor; a file may hold either.
    names = ("encoder.embed_tokens.weight", "shared.weight")
    for one, other in (names, names[::-1]):
        if one not in found and other in found:
            found[one] = found[other]
    held = {name: part for name, part in found.items() if name in wanted}
    yield from compare(folder, held, wanted, name="T5's encoder")


def check_depth(folder: Path, _: bool) -> Iterator[Finding]:
    """Checks the small depth network by loading it."""
    count = sum(part.numel() for part in load_nano_depth(folder).state_dict().values())
    yield Finding("ok", folder, f"the depth network fits, {count:,} numbers")


def check_file(path: Path, _: bool) -> Iterator[Finding]:
    """Checks that the file of another package's network opens."""
    weights = open_weights(path if path.is_file() else path / "model.safetensors")
    yield describe(weights)._replace(state="ok", where=path)


CHECKS: dict[str, Callable[[Path, bool], Iterator[Finding]]] = {
    "generator": check_generator,
    "tokenizer": check_tokenizer,
    "decoder_static": check_decoder,
    "decoder_dynamic": check_decoder,
    "t5": check_t5,
    "lpips": check_lpips,
    "depth": check_depth,
}


def _files(part: str, folder: Path) -> list[str]:
    """Returns the files of weights of a part, the listed ones for an index."""
    files = layout(part, folder)
    assert files is not None, f"{folder} has no {part}"
    if files[-1].endswith(".index.json"):
        return listed_shards(folder / files[-1])
    return [file for file in files if file != "config.json"]


def _entries(path: Path, count: int, known: int | None) -> Iterator[Finding]:
    """Yields a note if a published file has another number of entries than the known one."""
    if known not in (None, count):
        yield Finding("note", path, f"{count} entries; {known} are known of the published file")


def _statistics(folder: Path, published: bool) -> Iterator[Finding]:
    try:
        mean = load_statistics(folder).mean
    except InputError as error:
        yield refused(error)
        return
    shape = tuple(mean.shape)
    if published and shape != STATISTICS:
        text = f"latent statistics {list(shape)}, not {list(STATISTICS)} as published"
        yield Finding("wrong", folder / "mean_std.pt", text)
    else:
        yield Finding("ok", folder, f"latent statistics {list(shape)} (channel, latent frame)")
