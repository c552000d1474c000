"""The repository of T5 as it is published: an old pickle of weights, SentencePiece, a fast one.

The vocabulary is letters and the special tokens. `spiece.model` is a protobuf of SentencePiece,
written by hand: a list of pieces with scores and kinds is all that a reader needs of it.
"""

import json
import struct
from pathlib import Path

import torch
from published.random_tensors import RandomTensors
from safetensors.torch import save_file

from cosmos_predict1.diffusion.model.text import KEY, missing_constants

LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:'\"!?()-0123456789"
# Kinds of pieces in SentencePiece.
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
SPECIAL = (("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN))
UNIGRAM = 1


def pieces() -> list[tuple[str, float, int]]:
    """Text, score and kind of every piece."""
    special = [(text, 0.0, kind) for text, kind in SPECIAL]
    return special + [(letter, -2.0 - 0.01 * n, NORMAL) for n, letter in enumerate(LETTERS)]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _message(number: int, content: bytes) -> bytes:
    """A field of bytes, which a text or an inner message is."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def sentencepiece_model() -> bytes:
    """The content of `spiece.model`."""
    parts = []
    for text, score, kind in pieces():
        number = _varint(2 << 3 | 5) + struct.pack("<f", score)
        parts.append(_message(1, _message(1, text.encode()) + number + _integer(3, kind)))
    # Kind of model, and the numbers of the special pieces: unknown, begin, end, padding.
    trainer = _integer(3, UNIGRAM) + _integer(4, len(parts)) + _integer(40, 2)
    trainer += _varint(41 << 3) + b"\xff" * 9 + b"\x01" + _integer(42, 1) + _integer(43, 0)
    normalizer = _message(1, b"identity") + _integer(3, 1) + _integer(4, 1) + _integer(5, 1)
    return b"".join([*parts, _message(2, trainer), _message(3, normalizer)])


def _fast_tokenizer() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram([(text, score) for text, score, _ in pieces()], 2))
    tokenizer.add_special_tokens([text for text, _ in SPECIAL])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    end = [("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", end)
    return tokenizer.to_str()


def write_text_encoder(folder: Path, width: int, numbers: RandomTensors) -> None:
    """Write the files of the repository, of a T5 of `width`."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(pieces()),
        d_model=width,
        d_kv=4,
        d_ff=4 * width,
        num_layers=2,
        num_heads=2,
        architectures=["T5WithLMHeadModel"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    # The whole model, of which the encoder alone is wanted.
    state = T5ForConditionalGeneration(config).state_dict()
    for name, value in state.items():
        norm = "layer_norm" in name
        value.copy_(numbers.normal(value.shape, 0.05, 1.0 if norm else 0.0))
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (folder / "config.json").write_text(config.to_json_string())
    (folder / "spiece.model").write_bytes(sentencepiece_model())
    (folder / "tokenizer.json").write_text(_fast_tokenizer())
    (folder / "generation_config.json").write_text(json.dumps({"decoder_start_token_id": 0}))
    (folder / "tf_model.h5").write_bytes(b"weights of another framework, not to be fetched")
    (folder / "README.md").write_text("# T5-11B (a stand-in)\n")


def write_embeddings(checkpoints: Path, width: int, numbers: RandomTensors) -> None:
    """The two embeddings that a run without a prompt needs, as T5 of full size would leave them."""
    for path, tokens in zip(missing_constants(checkpoints), (1, 200), strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({KEY: numbers.normal((tokens, width), 0.1)}, path)
