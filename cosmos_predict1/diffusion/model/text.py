"""Prompts as context tokens `[1, token, context]`: T5 embeddings, cached ones, or zeros.

T5-11b embeds up to 512 tokens; rows beyond a prompt's length are zero and not masked. The first run
or `scripts/make_text_embeddings.py` stores the embeddings of the empty and the default negative
prompt in `text_embeddings` of the checkpoint folder, so that runs without a prompt need no T5.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.checkpoints import search_checkpoint
from src.io.atomic import atomic_path
from src.runtime import InputError, get_logger

from .architecture import TransformerConfig
from .t5 import T5Encoder

MAX_TOKENS = 512
CACHE_PLACE = "text_embeddings"
KEY = "embedding"
WITHOUT_T5 = (
    "google-t5/t5-11b in it (`python scripts/download_checkpoints.py --what t5`, 45 GB); for runs "
    f"without a prompt, {CACHE_PLACE} in it, as `python scripts/make_text_embeddings.py` makes it "
    "on any machine that has T5; or --disable_prompt_encoder, which takes zeros for the prompts"
)
# sha256 of the two prompts whose embeddings are stored. The negative prompt is found by it, because
# reading its text imports most of diffusers.
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()
NEGATIVE_DIGEST = "6d7ca93077e7e4a8417947ab03266c97dd44c9ec0d7b97fa4272ed956895239f"
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)
logger = get_logger(__name__)


def default_negative_prompt() -> str:
    """Returns the published negative prompt, from diffusers."""
    from diffusers.pipelines.cosmos.pipeline_cosmos_video2world import DEFAULT_NEGATIVE_PROMPT

    digest = hashlib.sha256(DEFAULT_NEGATIVE_PROMPT.encode()).hexdigest()
    assert digest == NEGATIVE_DIGEST, f"diffusers has another negative prompt, of digest {digest}"
    return DEFAULT_NEGATIVE_PROMPT


def constant_path(checkpoint_dir: Path, digest: str) -> Path:
    """Returns the file of a constant prompt's embedding, by the digest of its text."""
    return checkpoint_dir / CACHE_PLACE / f"t5-11b-{digest[:16]}.safetensors"


def missing_constants(checkpoint_dir: Path) -> list[Path]:
    """Returns the missing files of embeddings that a run without a prompt needs."""
    paths = [constant_path(checkpoint_dir, digest) for digest in (EMPTY_DIGEST, NEGATIVE_DIGEST)]
    return [path for path in paths if not path.is_file()]


def make_constants(checkpoint_dir: Path, device: torch.device | str = "cpu") -> list[Path]:
    """Make the missing embeddings; returns their files.

    Raises:
        InputError: T5 is not there or unreadable, or the embeddings cannot be written.
    """
    missing = missing_constants(checkpoint_dir)
    if missing:
        encoder = PromptEncoder(checkpoint_dir, device)
        for prompt in ("", None):
            encoder(prompt)
    lost = missing_constants(checkpoint_dir)
    if lost:
        raise InputError(lost[0], "no file, though it was made", "a folder that can be written")
    return missing


def zero_context(config: TransformerConfig) -> Float[Tensor, "1 token context"]:
    """Returns zeros for an unused text encoder; one token for weights without one."""
    tokens = 1 if config.sampling.text_encoder == "none" else MAX_TOKENS
    return torch.zeros(1, tokens, config.text_embed_dim)


def prompt_contexts(
    config: TransformerConfig,
    encoder: "PromptEncoder | None",
    prompt: str = "",
    negative_prompt: str | None = None,
) -> tuple[Float[Tensor, "1 token context"], Float[Tensor, "1 token context"]]:
    """Returns the contexts of the prompt and of the negative prompt.

    Both are zeros without an `encoder`. A `negative_prompt` of None is the default one; an empty
    one repeats the prompt, as published.

    Raises:
        InputError: a prompt for weights that have no text encoder.
    """
    if config.sampling.text_encoder == "none":
        for text in (prompt, negative_prompt):
            if text:
                expected = "no prompt: these weights were trained without a text encoder"
                raise InputError("prompt", repr(text), expected)
        encoder = None
    if encoder is None:
        if prompt or negative_prompt:
            logger.warning("the prompt is not used: the text encoder is disabled")
        return zero_context(config), zero_context(config)
    positive = encoder(prompt)
    if positive.shape[-1] != config.text_embed_dim:
        width = f"embeddings of width {positive.shape[-1]}"
        raise InputError(encoder.checkpoint_dir, width, f"{config.text_embed_dim} for this network")
    return positive, positive if negative_prompt == "" else encoder(negative_prompt)


class PromptEncoder:
    """Embeds prompts on `device`; loads T5 with the first prompt that needs it.

    T5 and the stored embeddings are found below `checkpoint_dir`. With `offload`, T5 streams from
    its files through the device, layer by layer; on a CPU it always does.
    """

    def __init__(
        self,
        checkpoint_dir: Path | str,
        device: torch.device | str = "cpu",
        offload: bool = False,
    ) -> None:
        self.checkpoint_dir = Path(checkpoint_dir)
        self.device, self.offload = torch.device(device), offload
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, prompt: str | None) -> Float[Tensor, "1 512 context"]:
        """Returns the embedding of `prompt` (None: the default negative one) in float32.

        Raises:
            InputError: T5 is needed and missing, or its files or a stored one are unreadable.
        """
        digest = NEGATIVE_DIGEST
        if prompt is not None:
            digest = hashlib.sha256(prompt.encode()).hexdigest()
        constant = digest in (EMPTY_DIGEST, NEGATIVE_DIGEST)
        path = constant_path(self.checkpoint_dir, digest)
        if constant and path.is_file():
            embedding = _read_cached(path)
        else:
            embedding = self._encode(default_negative_prompt() if prompt is None else prompt)
            if constant:
                _write_cached(path, embedding)
        padding = MAX_TOKENS - embedding.shape[0]
        return torch.nn.functional.pad(embedding, (0, 0, 0, padding))[None].to(self.device)

    def _encode(self, prompt: str) -> Float[Tensor, "token context"]:
        self._loaded = self._loaded or _open_t5(self.checkpoint_dir)
        tokenizer, encoder = self._loaded
        # Without padding, which T5 masks: it would only take time.
        ids = tokenizer(prompt, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        stream = self.offload or self.device.type == "cpu"
        return encoder.embed(ids["input_ids"], self.device, stream=stream)[0].clone()


def _open_t5(checkpoint_dir: Path) -> tuple[Any, T5Encoder]:
    """Opens the files of tokenizer and encoder."""
    folder = search_checkpoint("t5", checkpoint_dir)
    if folder is None:
        raise InputError(checkpoint_dir, "no T5 encoder", WITHOUT_T5)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True), T5Encoder(folder)
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(folder, f"unreadable ({error})", "tokenizer and weights of T5") from error


def _read_cached(path: Path) -> Float[Tensor, "token context"]:
    try:
        embedding = load_file(path)[KEY]
    except UNREADABLE as error:
        expected = "a cached embedding; delete the file to have it made anew"
        raise InputError(path, f"unreadable ({error})", expected) from error
    if embedding.ndim != 2 or embedding.shape[0] > MAX_TOKENS:
        raise InputError(path, f"shape {list(embedding.shape)}", f"[at most {MAX_TOKENS}, width]")
    return embedding


def _write_cached(path: Path, embedding: Float[Tensor, "token context"]) -> None:
    try:
        with atomic_path(path) as temporary:
            save_file({KEY: embedding.cpu().contiguous()}, temporary)
    except OSError as error:
        # Not an error: this run has the embedding, and the next one computes it again.
        logger.warning("cannot keep an embedding in %s: %s", path, error)
