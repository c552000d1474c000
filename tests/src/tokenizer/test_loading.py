"""Loading of tokenizer folders: every layout, and what is wrong with a broken one."""

import json
from pathlib import Path

import pytest
import torch

from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.keys import RENAMES, to_diffusers_names
from src.tokenizer.loading import load_tokenizer, save_tokenizer

TINY = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}


def tiny_tokenizer() -> VideoTokenizer:
    torch.manual_seed(1)
    mean, std = torch.randn(16, 3), torch.rand(16, 3) + 0.5
    return VideoTokenizer(TINY, mean, std).requires_grad_(False).eval()


def native_state(tokenizer: VideoTokenizer) -> dict[str, torch.Tensor]:
    """Our names turned back into native ones, by the table read from right to left."""
    state = {}
    for name, tensor in tokenizer.autoencoder.state_dict().items():
        # `quant_conv` last: "conv3" would be found again inside its native name.
        for native, ours in (*reversed(RENAMES[:-1]), RENAMES[-1]):
            name = name.replace(ours, native)
        state[name] = tensor
    return state


def write_native(tokenizer: VideoTokenizer, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    torch.save(native_state(tokenizer), folder / "model.pt")
    torch.save((tokenizer.mean.flatten(), tokenizer.std.flatten()), folder / "mean_std.pt")


def test_our_layout_round_trips(tmp_path: Path) -> None:
    """Would catch a tensor lost between the two files, or statistics transposed in the config."""
    tokenizer = tiny_tokenizer()
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    video = torch.rand(2, 3, 9, 16, 24) * 2 - 1
    torch.testing.assert_close(loaded.encode(video), tokenizer.encode(video))
    torch.testing.assert_close(loaded.mean, tokenizer.mean)
    torch.testing.assert_close(loaded.std, tokenizer.std)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json",
        "encoder.safetensors",
        "decoder.safetensors",
    }


def test_native_weights_of_any_width_load(tmp_path: Path) -> None:
    """Would catch a wrong row of the name table, or a width read off the wrong tensor."""
    tokenizer = tiny_tokenizer()
    write_native(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    latent = torch.randn(1, 16, 2, 2, 3)
    torch.testing.assert_close(loaded.decode(latent), tokenizer.decode(latent))


def test_full_size_names_and_shapes(shared: Path) -> None:
    """Would catch a published tensor that our table does not name, or of another shape."""
    keys = json.loads((shared / "fixtures" / "sdg_keys" / "keys.json").read_text())
    published = keys["tokenizer"]
    with torch.device("meta"):
        empty = {name: torch.empty(tuple(shape)) for name, shape in published.items()}
        ours = VideoTokenizer({}, torch.empty(16, 16), torch.empty(16, 16))
    renamed = to_diffusers_names(empty)
    wanted = {name: tensor.shape for name, tensor in ours.autoencoder.state_dict().items()}
    assert {name: tensor.shape for name, tensor in renamed.items()} == wanted


def test_wrong_tensors_are_named(tmp_path: Path) -> None:
    """Would catch loading that skips a missing, extra or mis-shaped tensor in silence."""
    tokenizer = tiny_tokenizer()
    state = native_state(tokenizer)
    state["decoder.extra.weight"] = state.pop("quant_conv.conv3d.bias")
    state["post_quant_conv.conv3d.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "model.pt")
    torch.save((tokenizer.mean, tokenizer.std), tmp_path / "mean_std.pt")
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    for part in (
        str(tmp_path),
        "1 missing: quant_conv.bias",
        "decoder.extra.weight",
        "post_quant_conv.bias [5] instead of [16]",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "mean_std.pt"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    """Would catch a loader error that does not say which file is broken."""
    write_native(tiny_tokenizer(), tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        load_tokenizer(tmp_path)


def test_a_foreign_pickle_is_refused(tmp_path: Path) -> None:
    """Would catch an unpickler that runs what a file tells it to."""

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("the pickle was executed",))

    write_native(tiny_tokenizer(), tmp_path)
    torch.save({"model": Evil()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="model.pt"):
        load_tokenizer(tmp_path)


def test_empty_folder_and_bad_statistics(tmp_path: Path) -> None:
    """Would catch a folder without weights, or a zero deviation, that passes."""
    with pytest.raises(InputError, match="no weights"):
        load_tokenizer(tmp_path)
    tokenizer = tiny_tokenizer()
    write_native(tokenizer, tmp_path)
    torch.save((tokenizer.mean, torch.zeros_like(tokenizer.std)), tmp_path / "mean_std.pt")
    with pytest.raises(InputError, match="finite and positive"):
        load_tokenizer(tmp_path)
