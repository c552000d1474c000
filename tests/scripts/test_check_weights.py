"""What the check of weights says of sound folders, and of each fault that is planted in one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published.generator_names import to_published_names
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from weights.networks import Finding
from weights.run import check

from src.checkpoints import TOKENIZER
from src.evaluation.metrics import BACKBONE_FILE, LINEAR_FILE, LPIPS

NANO = Path(__file__).resolve().parents[2] / "assets" / "nano"
CPU = torch.device("cpu")
DECODER = "decoder_static/model.safetensors"
GENERATOR = "generator/diffusion_pytorch_model.safetensors"
FULL = "Lyra/lyra_static.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped weights, as links, without the card that has their digests."""
    shutil.copytree(NANO, tmp_path / "nano", copy_function=os.symlink)
    (tmp_path / "nano" / "README.md").unlink()
    return tmp_path / "nano"


def wrong(folder: Path, values: bool = False) -> list[Finding]:
    findings = check(folder, CPU, forward=False, values=values)
    return [finding for finding in findings if finding.state == "wrong"]


def put(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def change(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    """A file of safetensors with other tensors."""
    state = load_file(path)
    edit(state)
    path.unlink()
    save_file(state, path)


def half(folder: Path) -> None:
    content = (folder / DECODER).read_bytes()
    put(folder / DECODER, content[: len(content) // 2])


def encoder_as_decoder(folder: Path) -> None:
    content = (folder / "tokenizer/encoder.safetensors").read_bytes()
    put(folder / "tokenizer/decoder.safetensors", content)


def as_type(dtype: torch.dtype) -> Callable[[Path], None]:
    def edit(state: dict[str, Tensor]) -> None:
        state["enc_norm.bias"] = state["enc_norm.bias"].to(dtype)

    return lambda folder: change(folder / DECODER, edit)


def nano_as_full(folder: Path) -> None:
    (folder / "Lyra").mkdir()
    torch.save({"module": load_file(folder / DECODER)}, folder / FULL)


def nano_generator_as_full(folder: Path) -> None:
    (folder / "generator").rename(folder / "Gen3C-Cosmos-7B")


def not_finite(place: int) -> Callable[[Path], None]:
    def edit(state: dict[str, Tensor]) -> None:
        state["deconv.weight"].view(-1)[place] = float("nan")

    return lambda folder: change(folder / DECODER, edit)


def fewer_statistics(folder: Path) -> None:
    path = folder / "tokenizer/config.json"
    config = json.loads(path.read_text())
    config["latents_mean"] = config["latents_mean"][:-1]
    put(path, json.dumps(config).encode())


class Restoring(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = state[1]


def program(folder: Path) -> None:
    place = folder / TOKENIZER
    place.mkdir()
    torch.save((torch.zeros(256), torch.ones(256)), place / "mean_std.pt")
    for name in ("encoder", "decoder"):
        torch.jit.script(Restoring()).save(place / f"{name}.jit")


def rename(state: dict[str, Tensor]) -> None:
    state["deconv.renamed"] = state.pop("deconv.bias")


def shrink(state: dict[str, Tensor]) -> None:
    state["enc_norm.weight"] = state["enc_norm.weight"][:-1].contiguous()


PLANTED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "truncated": (half, [DECODER, "cut off after"]),
    "LFS pointer": (
        lambda f: put(f / GENERATOR, b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        [GENERATOR, "git-lfs pointer"],
    ),
    "wrong part": (encoder_as_decoder, ["tokenizer", "missing: ", "decoder."]),
    "renamed tensor": (
        lambda f: change(f / DECODER, rename),
        [DECODER, "1 missing: deconv.bias", "1 unexpected: deconv.renamed"],
    ),
    "missing tensor": (
        lambda f: change(f / DECODER, lambda state: state.pop("deconv.bias")),
        [DECODER, "1 missing: deconv.bias"],
    ),
    "wrong shape": (
        lambda f: change(f / DECODER, shrink),
        [DECODER, "enc_norm.weight [191] instead of [192]"],
    ),
    "integers": (as_type(torch.int8), [DECODER, "not floating-point: enc_norm.bias torch.int8"]),
    "float64": (as_type(torch.float64), [DECODER, "tensors of torch.float64"]),
    "half-downloaded": (
        lambda f: put(f / "Lyra/.cache/huggingface/download/x.incomplete", b"12"),
        ["x.incomplete", "has not ended (2 bytes)"],
    ),
    "size 0": (lambda f: put(f / DECODER, b""), [DECODER, "0 bytes"]),
    "other size": (nano_as_full, [FULL, "another size (2,359,196 numbers instead of 32,753,996)"]),
    "other size with a config": (
        nano_generator_as_full,
        ["Gen3C-Cosmos-7B", "5,168,576 numbers, another size than the published 7,237,257,216"],
    ),
    "NaN": (not_finite(3), [DECODER, "1 tensors that are not finite: deconv.weight"]),
    "web page": (
        lambda f: put(f / FULL, b"<!DOCTYPE html><html><body>Sign in</body></html>"),
        [FULL, "web page"],
    ),
    "statistics": (fewer_statistics, ["config.json", "47 means and 48 deviations"]),
    "hostile TorchScript": (program, ["encoder.jit", "restored by a program (__setstate__)"]),
    "half a place": (
        lambda f: put(f / TOKENIZER / "encoder.jit", b"1") or (f / "tokenizer").rename(f / "x"),
        [TOKENIZER, "tokenizer without mean_std.pt, decoder.jit"],
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named_in_one_line(folder: Path, fault: str) -> None:
    """Catches a fault that passes, is named without its file, or is lost among other lines."""
    plant, expected = PLANTED[fault]
    plant(folder)
    findings = wrong(folder)
    assert len(findings) == 1, [str(finding) for finding in findings]
    line = str(findings[0])
    assert "\n" not in line and len(line) < 800
    for part in expected:
        assert part in line, line


def test_sound_folders_pass_and_each_command_is_told_what_it_lacks(folder: Path) -> None:
    """Catches faults seen where there are none, and commands that lack what is there."""
    findings = list(check(folder, CPU, forward=False))
    assert not [finding for finding in findings if finding.state == "wrong"]
    lines = [str(finding) for finding in findings]
    assert any("for sample static" in line and line.startswith("ok") for line in lines)
    assert any("for training: lacks lpips" in line for line in lines)
    shutil.rmtree(folder / "decoder_static")
    lines = [str(finding) for finding in check(folder, CPU, forward=False)]
    assert any("for sample static: lacks decoder_static" in line for line in lines)


def test_numbers_in_the_middle_are_found_on_request(folder: Path) -> None:
    """Catches a look at all values that is none."""
    not_finite(-1)(folder)
    assert not wrong(folder)
    assert "deconv.weight" in str(wrong(folder, values=True)[0])


def test_a_flipped_bit_is_found_by_the_digests_of_the_card(folder: Path) -> None:
    """Catches damage that no format notices."""
    shutil.copy(NANO / "README.md", folder)
    assert not wrong(folder)
    content = bytearray((folder / DECODER).read_bytes())
    content[-100] ^= 1
    put(folder / DECODER, bytes(content))
    (finding,) = wrong(folder)
    assert DECODER in str(finding.where) and "sha256" in finding.text


def test_the_state_of_a_training_is_recognised_and_fits(folder: Path) -> None:
    """Catches weights that are called wrong for what a framework put around them."""
    state = to_published_names(load_file(folder / GENERATOR))
    (folder / GENERATOR).unlink()
    content = {f"module.{name}": part for name, part in state.items()}
    training = {"model": content, "optimizer": {}, "iteration": 3}
    torch.save(training, folder / "generator" / "model.pt")
    lines = [str(finding) for finding in check(folder, CPU, forward=False)]
    assert any("under model beside optimizer, iteration" in line for line in lines)
    assert any(line.startswith("ok") and "tensors of the generator fit" in line for line in lines)


def test_a_file_of_full_size_is_told_by_its_header(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches 14 GB that are read, counts that are not the published ones, extra keys refused."""
    keys = json.loads((shared / "fixtures" / "sdg_keys" / "keys.json").read_text())["transformer"]
    (tmp_path / "Gen3C-Cosmos-7B").mkdir()
    path = tmp_path / "Gen3C-Cosmos-7B" / "model.pt"
    with FakeTensorMode():
        state = {k: torch.empty(shape, dtype=torch.bfloat16) for k, shape in keys.items()}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, path)
    (tmp_path / "Gen3C-Cosmos-7B" / "config.json").write_text("{not JSON")
    lines = [str(finding) for finding in check(tmp_path, CPU, forward=False)]
    assert any("7,237,257,216 numbers" in line and line.startswith("ok") for line in lines)
    assert any("574 tensors" in line for line in lines)
    assert any("4 known entries" in line and "net.pos_embedder.seq" in line for line in lines)


@pytest.mark.slow
def test_forwards_of_the_shipped_weights_are_finite(folder: Path) -> None:
    """Catches a forward that fails where the weights fit, or passes where they are broken."""
    lines = [str(finding) for finding in check(folder, CPU)]
    forwards = [line for line in lines if "a tiny forward" in line]
    assert len(forwards) == 5 and all(line.startswith("ok") for line in forwards)
    # Beyond what is sampled of each tensor, so that the forward has to find it.
    not_finite(-1)(folder)
    lines = [str(finding) for finding in check(folder, CPU)]
    assert any(line.startswith("wrong") and "not finite" in line for line in lines)


def test_a_text_encoder_is_told_by_its_own_configuration(tmp_path: Path) -> None:
    """Catches a decoder beside the encoder that is called surplus, a lost tensor."""
    from transformers import T5Config, T5ForConditionalGeneration

    place = tmp_path / "google-t5/t5-11b"
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 9}
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(place)
    assert not wrong(tmp_path)
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    change(place / "model.safetensors", lambda state: state.pop(name))
    (finding,) = wrong(tmp_path)
    assert f"1 missing: {name}" in finding.text


def test_the_perceptual_metric_is_compared_and_run(tmp_path: Path) -> None:
    """Catches names of the two files that are not looked at, and a metric that sees nothing."""
    network = LPIPS()
    features = network.features.state_dict()
    folder = tmp_path / "lpips"
    folder.mkdir()
    torch.save({f"features.{k}": v for k, v in features.items()}, folder / BACKBONE_FILE)
    linear = {f"lin{i}.model.1.weight": torch.rand_like(v) for i, v in enumerate(network.linear)}
    torch.save(linear, folder / LINEAR_FILE, _use_new_zipfile_serialization=False)
    lines = [str(finding) for finding in check(tmp_path, CPU)]
    assert any("tensors of LPIPS fit" in line for line in lines)
    assert any(line.startswith("ok") and "LPIPS 0.000 of equal" in line for line in lines)
    linear.pop("lin2.model.1.weight")
    torch.save(linear, folder / LINEAR_FILE)
    (finding,) = wrong(tmp_path)
    assert "1 missing: linear.2" in finding.text
