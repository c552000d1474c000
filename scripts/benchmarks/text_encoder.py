"""Peak memory of a clip with a prompt, with and without `--offload_text_encoder_model`.

The command's own code at one sampling step, on random weights; on a GPU with an encoder of
T5-11b's size, in float32 as the command uses it, beside the transformer of full size.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from cosmos_predict1.diffusion.model.text import PromptEncoder

from .row import GIB, Row, peak_memory, reset_peak, seconds
from .sdg import FULL, SMALL, ClipBench, write_input, write_weights

FLAG = "--offload_text_encoder_model"
PROMPT = "A slow walk through an old library at dusk, dust in the last light of tall windows"
# The differences from the defaults of transformers' `T5Config`.
T5_11B = {"d_model": 1024, "d_kv": 128, "d_ff": 65536, "num_heads": 128, "num_layers": 24}
SMALL_T5 = {"d_model": 1024, "d_kv": 8, "d_ff": 64, "num_heads": 2, "num_layers": 2}


def run(device: torch.device) -> Iterator[Row]:
    """Yields peak memory and time of a clip, first without the flag."""
    full = device.type == "cuda"
    config = FULL if full else SMALL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights", config, device)
        write_input(folder, config.sampling.height, config.sampling.width)
        size = write_text_encoder(
            folder / "weights" / "google-t5" / "t5-11b", T5_11B if full else SMALL_T5, device
        )
        # As after any earlier run: the embedding of the negative prompt lies on disk.
        PromptEncoder(folder / "weights", device)(None)
        for flags in ((), (FLAG,)):
            yield from _measure(ClipBench(folder, device, ["--prompt", PROMPT, *flags]), flags)
    yield Row("weights of the text encoder", size / GIB, "GiB")


def write_text_encoder(folder: Path, sizes: dict[str, int], device: torch.device) -> int:
    """Writes an encoder of T5's architecture and a tokenizer of words; returns the weights' bytes.

    Every word is the unknown one.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    with torch.device(device):
        encoder = T5EncoderModel(T5Config.from_dict(sizes))
    encoder.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    return 4 * sum(parameter.numel() for parameter in encoder.parameters())


def _measure(maker: ClipBench, flags: tuple[str, ...]) -> Iterator[Row]:
    """Yields peak memory and time of a clip of one step with a prompt."""
    name = " ".join(flags) or "no offload flag"
    embed = partial(PromptEncoder(maker.folder / "weights", maker.device, bool(flags)), PROMPT)
    # The first call loads the encoder.
    first, embedding = (seconds(embed, repeats=1, warm_up=0) for _ in range(2))
    del embed
    loading = maker.loading() + first - embedding
    reset_peak(maker.device)
    whole = maker.clip(1)
    yield peak_memory(f"{name}, peak", maker.device)
    yield Row(f"{name}, a clip of one step, loading apart", whole - loading)
    yield Row(f"{name}, embedding the prompt", embedding)
