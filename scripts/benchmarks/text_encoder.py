"""Peak memory of a clip with a prompt, with and without `--offload_text_encoder_model`.

The command's own code at one sampling step; on a GPU with an encoder of T5-11b's size in float32,
as the command uses it, and a transformer of seven billion bfloat16 weights. Their random weights
are made where they work: reading them is not part of the seconds.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_predict1.diffusion.model import text
from cosmos_predict1.diffusion.model.architecture import TransformerConfig, write_config
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.weights import SAFETENSORS_FILE
from cosmos_predict1.diffusion.sampling import pipeline
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import save_tokenizer

from .generator import random_network
from .row import Row
from .sdg import FULL, GIB, SMALL, SMALL_TOKENIZER, Times, make_clips, write_input

FLAG = "--offload_text_encoder_model"
PROMPT = "A slow walk through an old library at dusk, dust in the last light of tall windows"
# What differs from the defaults of transformers' `T5Config`.
T5_11B = {"d_model": 1024, "d_kv": 128, "d_ff": 65536, "num_heads": 128, "num_layers": 24}
SMALL_T5 = {"d_model": 1024, "d_kv": 8, "d_ff": 64, "num_heads": 2, "num_layers": 2}
IDS = 32000


def run(device: torch.device) -> Iterator[Row]:
    """Peak memory of the GPU and seconds of a clip, first without the flag."""
    full = device.type == "cuda"
    config = FULL if full else SMALL
    times, encoder = Times(), random_encoder(T5_11B if full else SMALL_T5, device)
    originals = pipeline.load_generator, text._load_t5, text.PromptEncoder._encode
    pipeline.load_generator = lambda _, at, dtype, rope_precision: _random_generator(
        config, at, device, dtype
    )
    text._load_t5 = lambda _, dtype: (tokenise, encoder.to(dtype))
    text.PromptEncoder._encode = times.wrap("embedding", originals[2])
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _write_folder(folder, config)
            # As after any earlier run: the embedding of the negative prompt lies on disk.
            text.PromptEncoder(folder / "weights", device)(None)
            for flags in ((), (FLAG,)):
                yield from _measure(folder, device, list(flags), times)
    finally:
        pipeline.load_generator, text._load_t5, text.PromptEncoder._encode = originals
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    yield Row("weights of the text encoder", 4 * parameters / GIB, "GiB")


def random_encoder(sizes: dict[str, int], device: torch.device) -> Any:
    """An encoder of T5's architecture, made on `device`."""
    from transformers import T5Config, T5EncoderModel

    with torch.device(device):
        return T5EncoderModel(T5Config.from_dict(sizes)).eval().requires_grad_(False)


def tokenise(
    prompt: str, truncation: bool, max_length: int, return_tensors: str
) -> dict[str, Tensor]:
    """Stands for T5's tokenizer: a token for every four characters."""
    assert truncation and return_tensors == "pt", f"{truncation}, {return_tensors}"
    ids = [sum(prompt[start : start + 4].encode()) % IDS for start in range(0, len(prompt), 4)]
    return {"input_ids": torch.tensor([ids[: max_length - 1] + [1]])}


def _random_generator(
    config: TransformerConfig, at: torch.device | str, device: torch.device, dtype: torch.dtype
) -> Gen3CTransformer:
    """In the place of the weights' file: made on the GPU, whence it goes where it was asked for."""
    network = random_network(config, device, dtype)
    network.learnable_pos_embed.float()
    return network.to(at)


def _write_folder(folder: Path, config: TransformerConfig) -> None:
    """A picture, a tokenizer, and a generator of which only the configuration is read."""
    write_input(folder, config.sampling.height, config.sampling.width)
    (folder / "weights" / "generator").mkdir(parents=True)
    write_config(config, folder / "weights" / "generator")
    (folder / "weights" / "generator" / SAFETENSORS_FILE).touch()
    architecture = {} if config == FULL else SMALL_TOKENIZER
    tokenizer = VideoTokenizer(architecture, torch.zeros(16, 16), torch.ones(16, 16))
    save_tokenizer(tokenizer, folder / "weights" / "tokenizer")


def _measure(folder: Path, device: torch.device, flags: list[str], times: Times) -> Iterator[Row]:
    """A clip of one step with a prompt."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    times.seconds.clear()
    seconds = make_clips(folder, device, 1, 1, ["--prompt", PROMPT, *flags])
    name = " ".join(flags) or "no offload flag"
    if device.type == "cuda":
        yield Row(f"{name}, peak", torch.cuda.max_memory_allocated(device) / GIB, "GiB")
    yield Row(f"{name}, a clip of one step, loading apart", seconds["all"] - seconds["loading"])
    yield Row(f"{name}, embedding the prompt", times.seconds["embedding"])
