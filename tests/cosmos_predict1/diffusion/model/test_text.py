"""Prompts: a tiny T5 in the published place, the cache, and weights without a text encoder."""

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from warm.python import warm_python

from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig
from cosmos_predict1.diffusion.model.t5 import T5Encoder, convert_t5
from cosmos_predict1.diffusion.model.text import (
    NEGATIVE_DIGEST,
    PromptEncoder,
    default_negative_prompt,
    make_constants,
    missing_constants,
    prompt_contexts,
    zero_context,
)
from cosmos_predict1.diffusion.model.weights import write_state
from src.runtime import InputError

WIDTH = 16
CONFIG = TransformerConfig(text_embed_dim=WIDTH)
WITHOUT = replace(CONFIG, sampling=SamplingDefaults(text_encoder="none"))
PROMPT = "w1 w2 w3"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with a random T5 of 20 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    words = ["<pad>", "</s>", "<unk>", *(f"w{index}" for index in range(20))]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    root = tmp_path_factory.mktemp("checkpoints")
    folder = root / "google-t5" / "t5-11b"
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    T5EncoderModel(
        T5Config(vocab_size=23, d_model=WIDTH, d_kv=4, d_ff=32, num_layers=2, num_heads=2)
    ).save_pretrained(folder)
    return root


@pytest.fixture
def linked(checkpoints: Path, tmp_path: Path) -> Path:
    """The same T5 with a cache of its own."""
    (tmp_path / "google-t5").symlink_to(checkpoints / "google-t5")
    return tmp_path


def test_embeddings_are_those_of_the_padded_and_masked_prompt(linked: Path) -> None:
    """Would catch another length, or rows beyond it that are not zero: they are attended to."""
    from transformers import AutoTokenizer, T5EncoderModel

    folder = linked / "google-t5" / "t5-11b"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), T5EncoderModel.from_pretrained(folder)
    batch = tokenizer(PROMPT, padding="max_length", max_length=512, return_tensors="pt")
    with torch.no_grad():
        padded = model(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    expected = padded * batch["attention_mask"][..., None]
    ours = PromptEncoder(linked)(PROMPT)
    assert ours.shape == (1, 512, WIDTH) and ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected)
    assert ours[0, :4].any(dim=1).all() and not ours[0, 4:].any()


def test_long_prompts_are_cut(linked: Path) -> None:
    """Would catch a prompt of more than 512 tokens that makes a longer context."""
    assert PromptEncoder(linked)("w5 " * 600).shape == (1, 512, WIDTH)


def test_constant_embeddings_are_cached_and_need_no_t5(linked: Path) -> None:
    """Would catch an encoder that is loaded for the default prompts, or a cache of other ones."""
    encoder = PromptEncoder(linked)
    empty, negative = prompt_contexts(CONFIG, encoder)
    prompt, _ = prompt_contexts(CONFIG, encoder, PROMPT)
    assert len(list((linked / "text_embeddings").iterdir())) == 2
    (linked / "google-t5").unlink()
    again = PromptEncoder(linked)
    for ours, expected in zip(prompt_contexts(CONFIG, again), (empty, negative), strict=True):
        assert torch.equal(ours, expected)
    assert torch.equal(again(default_negative_prompt()), negative)
    assert not torch.equal(empty, negative) and not torch.equal(prompt, empty)
    assert empty[0].any(dim=1).sum() == 1
    with pytest.raises(InputError, match="google-t5.*disable_prompt_encoder"):
        again(PROMPT)


@pytest.mark.parametrize("kept", [0, 1])
def test_the_constants_are_made_at_once(linked: Path, kept: int) -> None:
    """Would catch one of the two left out, so that a run without T5 fails after all."""
    expected = prompt_contexts(CONFIG, PromptEncoder(linked))
    for path in sorted((linked / "text_embeddings").iterdir())[kept:]:
        path.unlink()
    assert len(missing_constants(linked)) == 2 - kept
    assert len(make_constants(linked)) == 2 - kept
    assert missing_constants(linked) == [] and make_constants(linked) == []
    (linked / "google-t5").unlink()
    for ours, theirs in zip(prompt_contexts(CONFIG, PromptEncoder(linked)), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_constants_that_cannot_be_kept_are_an_error(linked: Path) -> None:
    """Would catch success told of a folder that cannot be written."""
    (linked / "text_embeddings").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="text_embeddings"):
        make_constants(linked)


def test_a_missing_t5_names_three_ways(tmp_path: Path) -> None:
    """Would catch a user without a prompt who is sent to fetch 45 GB and told nothing else."""
    with pytest.raises(InputError) as caught:
        PromptEncoder(tmp_path)("")
    text = str(caught.value)
    for way in ("--what t5", "make_text_embeddings.py", "--disable_prompt_encoder"):
        assert way in text
    assert "\n" not in text


@pytest.mark.slow
def test_the_command_that_makes_them(linked: Path, tmp_path: Path) -> None:
    """Would catch a command that leaves an exit code of 0 where there is no T5."""
    script = Path(__file__).resolve().parents[4] / "scripts" / "make_text_embeddings.py"
    for python, folder, code, words in (
        (sys.executable, linked, 0, "made"),
        (warm_python(), linked, 0, "there"),
        (warm_python(), tmp_path / "n", 1, ""),
    ):
        command = [python, str(script), "--checkpoint_dir", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code and words in done.stdout, done.stderr
    assert "Traceback" not in done.stderr and "--what t5" in done.stderr
    assert missing_constants(linked) == []


def test_an_empty_negative_prompt_repeats_the_prompt(linked: Path) -> None:
    """Would catch the published rule forgotten: there is no branch without text."""
    positive, negative = prompt_contexts(CONFIG, PromptEncoder(linked), PROMPT, "")
    assert negative is positive
    _, other = prompt_contexts(CONFIG, PromptEncoder(linked), PROMPT, "w7")
    assert torch.equal(other, PromptEncoder(linked)("w7"))


def test_a_disabled_encoder_gives_zeros_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Would catch a prompt that is dropped in silence, or zeros of another shape."""
    with caplog.at_level(logging.WARNING):
        for context in prompt_contexts(CONFIG, None):
            assert context.shape == (1, 512, WIDTH) and not context.any()
        assert not caplog.records
        prompt_contexts(CONFIG, None, PROMPT)
    assert "disabled" in caplog.text


def test_weights_without_a_text_encoder(linked: Path) -> None:
    """Would catch a prompt that such weights cannot follow, or a default one that is refused."""
    for encoder in (None, PromptEncoder(linked)):
        for context in prompt_contexts(WITHOUT, encoder):
            assert context.shape == (1, 1, WIDTH) and not context.any()
        for prompts in ((PROMPT, None), ("", PROMPT)):
            with pytest.raises(InputError, match="prompt.*w1 w2 w3"):
                prompt_contexts(WITHOUT, encoder, *prompts)
    assert zero_context(WITHOUT).shape == (1, 1, WIDTH)


def test_a_t5_of_another_width_is_named(linked: Path) -> None:
    """Would catch a shape error deep inside the network."""
    with pytest.raises(InputError, match="width 16.*1024"):
        prompt_contexts(TransformerConfig(), PromptEncoder(linked))


@pytest.mark.parametrize("content", ["truncated", "other", "long"])
def test_broken_cache_files_are_named(linked: Path, content: str) -> None:
    """Would catch a broken embedding that is used, or made anew without a word."""
    PromptEncoder(linked)("")
    (path,) = (linked / "text_embeddings").iterdir()
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-4])
    else:
        name, rows = ("x", 1) if content == "other" else ("embedding", 513)
        save_file({name: torch.zeros(rows, WIDTH)}, path)
    with pytest.raises(InputError, match=path.name):
        PromptEncoder(linked)("")


def test_a_cache_that_cannot_be_written_costs_only_time(
    linked: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Would catch a read-only checkpoint folder that stops a run."""
    (linked / "text_embeddings").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert PromptEncoder(linked)("").any()
    assert "text_embeddings" in caplog.text


@pytest.mark.parametrize("fault", ["truncated", "missing"])
def test_broken_t5_weights_are_named(checkpoints: Path, tmp_path: Path, fault: str) -> None:
    """Would catch tensors that transformers makes up where the file lacks them."""
    folder = tmp_path / "google-t5" / "t5-11b"
    folder.mkdir(parents=True)
    for path in (checkpoints / "google-t5" / "t5-11b").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = folder / "model.safetensors"
    if fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        state = load_file(weights)
        del state["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
        save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="t5-11b"):
        PromptEncoder(tmp_path)(PROMPT)


def test_the_default_negative_prompt_is_the_published_one() -> None:
    """Would catch a diffusers whose text has changed, so that a cached embedding is another's."""
    import hashlib

    prompt = default_negative_prompt()
    assert len(prompt) == 538
    assert hashlib.sha256(prompt.encode()).hexdigest() == NEGATIVE_DIGEST


@pytest.mark.parametrize("layout", ["old", "zip", "shards"])
def test_the_encoder_is_read_from_every_layout(
    checkpoints: Path, tmp_path: Path, layout: str
) -> None:
    """Would catch layers that stream in another order, or tensors taken from the decoder."""
    folder = tmp_path / "google-t5" / "t5-11b"
    shutil.copytree(checkpoints / "google-t5" / "t5-11b", folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state["encoder.embed_tokens.weight"] = state["shared.weight"]
    state["decoder.block.0.layer.0.SelfAttention.q.weight"] = torch.zeros(3)
    if layout == "shards":
        write_state(state, folder, 2000, stem="model")
        assert len(list(folder.glob("model-*.safetensors"))) > 2
    else:
        zipped = layout == "zip"
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    expected = PromptEncoder(checkpoints)(PROMPT)
    assert torch.equal(PromptEncoder(tmp_path)(PROMPT), expected)


def test_streaming_and_resident_layers_are_equal(checkpoints: Path) -> None:
    """Would catch a layer that computes with another one's weights, or layers that stay."""
    encoder = T5Encoder(checkpoints / "google-t5" / "t5-11b")
    ids, device = torch.tensor([[5, 6, 7, 1]]), torch.device("cpu")
    streamed = encoder.embed(ids, device, stream=True)
    assert all(part.is_meta for part in encoder._stack.parameters())
    resident = encoder.embed(ids, device, stream=False)
    assert torch.equal(streamed, resident)
    assert torch.equal(encoder.embed(ids, device, stream=True), resident)


def test_a_converted_encoder_is_the_same_without_its_decoder(
    checkpoints: Path, tmp_path: Path
) -> None:
    """Would catch a conversion that nobody reads, or one that keeps what is not needed."""
    source, target = tmp_path / "source", tmp_path / "google-t5" / "t5-11b"
    shutil.copytree(checkpoints / "google-t5" / "t5-11b", source)
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    state["decoder.final_layer_norm.weight"] = torch.zeros(9999)
    torch.save(state, source / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    convert_t5(source, target, None, 10**9)
    assert torch.equal(PromptEncoder(tmp_path)(PROMPT), PromptEncoder(checkpoints)(PROMPT))
    assert "decoder.final_layer_norm.weight" not in load_file(target / "model.safetensors")
