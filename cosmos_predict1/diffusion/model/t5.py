"""T5's encoder, read from its files tensor by tensor: onto a device, or layer by layer through it.

The published file of T5-11b holds a decoder too, and has a format that torch does not map into
memory; `src.checkpoints.opening` does. Weights are float32, as published.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.checkpoints import find_checkpoint, layout
from src.checkpoints.opening import Weights, open_weights
from src.io.damage import check_tensors
from src.runtime import without_memory

from .offload import BlockStream, DirectCopier
from .weights import listed_shards, write_state

STEM = "model"
# Two names of one tensor; a file may hold either.
SHARED, REPEATED = "shared.weight", "encoder.embed_tokens.weight"
EMBEDDING, PREFIX, LAYERS = "embed_tokens.weight", "encoder.", "block."
# Suffixes of the files beside the weights: configuration and tokenizer.
BESIDE = (".json", ".model")


class StoredWeights(Mapping[str, Tensor]):
    """The encoder's tensors in a T5 folder; each access reads one from its file, as float32."""

    def __init__(self, folder: Path) -> None:
        """Open the files; `InputError` for one that cannot be read."""
        files = [name for name in layout("t5", folder) or () if name != "config.json"]
        if files and files[0].endswith(".index.json"):
            files = listed_shards(folder / files[0])
        self._places: dict[str, tuple[Weights, str]] = {}
        for file in files:
            weights = open_weights(folder / file)
            for name in weights.tensors:
                if name == SHARED or name.startswith(PREFIX):
                    self._places[SHARED if name == REPEATED else name] = (weights, name)

    def __getitem__(self, name: str) -> Float[Tensor, "..."]:
        weights, stored = self._places[name]
        return weights.read({stored: stored})[stored].float()

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def unread(self) -> dict[str, Tensor]:
        """Returns tensors of the stored shapes and types on the meta device."""
        stored = {name: weights.tensors[at] for name, (weights, at) in self._places.items()}
        return {
            name: torch.empty(part.shape, dtype=part.dtype, device="meta")
            for name, part in stored.items()
        }


class T5Encoder:
    """T5's encoder, whose weights stay in their files until they are needed."""

    def __init__(self, folder: Path) -> None:
        """Open the files and compare them with the network.

        Raises:
            InputError: a file that cannot be read, tensors that are missing or of another shape.
        """
        from transformers import T5Config, T5EncoderModel

        config = T5Config.from_pretrained(folder, local_files_only=True)
        with without_memory():
            self._stack: Any = T5EncoderModel(config).encoder.eval().requires_grad_(False)
        self.weights = StoredWeights(folder)
        wanted = {_stored_name(name): part for name, part in self._stack.state_dict().items()}
        check_tensors(folder, self.weights.unread(), wanted, "T5's encoder")
        self._device: torch.device | None = None

    @torch.inference_mode()
    def embed(
        self, ids: Int[Tensor, "1 token"], device: torch.device, *, stream: bool
    ) -> Float[Tensor, "1 token context"]:
        """Returns the embedding of tokens.

        With `stream`, the memory of `device` holds two layers at a time, and nothing afterwards;
        else the encoder stays on the device.
        """
        ids = ids.to(device)
        if not stream:
            if self._device != device:
                self._place(list(self._stack.state_dict()), device)
                self._device = device
            return self._stack(input_ids=ids).last_hidden_state
        self._device = None
        others = [name for name in self._stack.state_dict() if not name.startswith(LAYERS)]
        self._place(others, device)
        blocks = list(self._stack.block)
        streaming = BlockStream(
            blocks, device, copier=DirectCopier(), fetch=self._layer, cyclic=False
        )
        try:
            return self._stack(input_ids=ids).last_hidden_state
        finally:
            streaming.close()
            self._stack.to_empty(device="meta")

    def _place(self, names: Sequence[str], device: torch.device) -> None:
        """Read tensors onto a device."""
        # One at a time: memory never holds a second copy of all weights.
        state = {name: self.weights[_stored_name(name)].to(device) for name in names}
        self._stack.load_state_dict(state, assign=True, strict=False)

    def _layer(self, index: int) -> dict[str, Tensor]:
        """Reads the tensors of a layer, under their names in it."""
        prefix = f"{PREFIX}{LAYERS}{index}."
        names = [name for name in self.weights if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.weights[name] for name in names}


def convert_t5(source: Path, target: Path, dtype: torch.dtype | None, max_shard_bytes: int) -> None:
    """Write T5's encoder, its configuration and tokenizer to `target` as safetensors.

    `source` is their folder, or a checkpoint folder. One shard is in memory at a time; `dtype` None
    is float32.

    Raises:
        InputError: no T5 in `source`; else as `T5Encoder`.
    """
    folder = source if layout("t5", source) else find_checkpoint("t5", source)
    weights = T5Encoder(folder).weights
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.suffix in BESIDE and not path.name.endswith(".index.json"):
            shutil.copyfile(path, target / path.name)
    write_state(weights, target, max_shard_bytes, dtype, stem=STEM)


def _stored_name(name: str) -> str:
    """Returns the name in a file of one of the encoder's own tensors."""
    return SHARED if name == EMBEDDING else PREFIX + name
