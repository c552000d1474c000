"""Weights are found under published and own names, and what is missing is named."""

from pathlib import Path

import pytest

from cosmos_predict1.training.config import GeneratorTrainConfig
from src.checkpoints import (
    PLACES,
    TOKENIZER,
    find_checkpoint,
    find_named,
    layout,
    search_checkpoint,
)
from src.config.loading import file_layer, load_train_config
from src.reconstruct.inputs import WeightsConfig, find_tokenizer
from src.runtime import InputError
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.data import tokenizer_folder

INNER = f"cosmos_predict1/{TOKENIZER}"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize("part", PLACES)
def test_every_place_is_found(part: str, tmp_path: Path) -> None:
    """Catches a place whose files don't make it complete, or that an incomplete one hides."""
    for index, place in enumerate(PLACES[part]):
        root = tmp_path / str(index)
        files = [f"{place.path}/{file}" for file in place.files] or [place.path]
        touch(root, *files[1:])
        if len(files) > 1:
            with pytest.raises(InputError, match=Path(files[0]).name):
                find_checkpoint(part, root)
        touch(root, files[0])
        assert find_checkpoint(part, root) == root / place.path


def test_the_tokenizer_is_found_at_both_published_places(tmp_path: Path) -> None:
    """Catches the decoder's download, whose tokenizer lies one folder deeper, not being found."""
    deeper = f"cosmos_predict1/{TOKENIZER}"
    names = ("mean_std.pt", "encoder.jit", "decoder.jit")
    touch(tmp_path, *(f"{deeper}/{name}" for name in names))
    touch(tmp_path, f"{TOKENIZER}/mean_std.pt")
    assert find_checkpoint("tokenizer", tmp_path) == tmp_path / deeper
    touch(tmp_path, *(f"{TOKENIZER}/{name}" for name in names))
    assert find_checkpoint("tokenizer", tmp_path) == tmp_path / TOKENIZER
    assert find_checkpoint("tokenizer", tmp_path / "cosmos_predict1") == tmp_path / deeper


def test_the_first_folder_wins_and_the_second_helps_out(tmp_path: Path) -> None:
    """Catches a fallback that is preferred, or never reached."""
    files = ("depth/config.json", "depth/model.safetensors")
    touch(tmp_path / "nano", *files)
    assert find_checkpoint("depth", tmp_path / "own", tmp_path / "nano").parent.name == "nano"
    touch(tmp_path / "own", *files)
    assert find_checkpoint("depth", tmp_path / "own", tmp_path / "nano").parent.name == "own"


def test_a_file_stands_for_its_folder(tmp_path: Path) -> None:
    """Catches a named file that is refused, or others' weights that are taken instead of it."""
    touch(tmp_path, "model.pt", "generator/model.pt")
    assert find_checkpoint("generator", tmp_path) == tmp_path / "generator"
    assert find_checkpoint("generator", tmp_path / "model.pt") == tmp_path


def test_the_error_lists_all_places_and_what_they_lack(tmp_path: Path) -> None:
    """Catches a message that leaves the user guessing where weights belong."""
    touch(tmp_path, f"{TOKENIZER}/encoder.jit")
    with pytest.raises(InputError) as caught:
        find_checkpoint("tokenizer", tmp_path, tmp_path / "none")
    message = str(caught.value)
    assert "without mean_std.pt, decoder.jit" in message
    for place in PLACES["tokenizer"]:
        assert f"{tmp_path / place.path} " in message
        assert f"{tmp_path / 'none' / place.path} (no such folder)" in message
    assert search_checkpoint("tokenizer", tmp_path) is None


@pytest.mark.parametrize("named", [f"checkpoints/{TOKENIZER}", f"checkpoints/{INNER}"])
@pytest.mark.parametrize("placed", [f"checkpoints/{TOKENIZER}", f"checkpoints/{INNER}"])
def test_either_published_place_stands_for_the_other(
    tmp_path: Path, named: str, placed: str
) -> None:
    """Catches a training that does not find the tokenizer where the downloader puts it."""
    touch(tmp_path / placed, "mean_std.pt", "encoder.jit", "decoder.jit")
    assert find_named("tokenizer", tmp_path / named, "vae_path") == tmp_path / placed
    with pytest.raises(InputError, match="vae_path=.*elsewhere.*mean_std.pt"):
        find_named("tokenizer", tmp_path / "elsewhere" / TOKENIZER, "vae_path")


def test_every_command_names_a_tokenizer_that_the_downloader_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a configuration with its own idea of where the tokenizer lies."""
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "checkpoints" / TOKENIZER, "mean_std.pt", "encoder.jit", "decoder.jit")
    decoder = load_train_config(DecoderTrainConfig, [file_layer("configs/training/default.yaml")])
    generator = load_train_config(
        GeneratorTrainConfig, [file_layer("configs/training/generator.yaml")]
    )
    found = [
        tokenizer_folder(decoder),
        find_tokenizer(WeightsConfig(tokenizer=decoder.tokenizer)),
        find_tokenizer(WeightsConfig()),
        find_named("tokenizer", generator.tokenizer, "tokenizer"),
        find_checkpoint("tokenizer", "checkpoints"),
    ]
    assert {path.resolve() for path in found} == {tmp_path / "checkpoints" / TOKENIZER}


def test_the_first_complete_set_of_files_is_read(tmp_path: Path) -> None:
    """Catches an order in which the state of a training comes before the weights."""
    assert layout("tokenizer", tmp_path) is None
    touch(tmp_path, "mean_std.pt", "config.json", "model.pt")
    assert layout("tokenizer", tmp_path) == ("mean_std.pt", "model.pt")
    touch(tmp_path, "autoencoder.jit", "encoder.jit")
    assert layout("tokenizer", tmp_path) == ("mean_std.pt", "autoencoder.jit")
    touch(tmp_path, "decoder.jit")
    assert layout("tokenizer", tmp_path) == ("mean_std.pt", "encoder.jit", "decoder.jit")


def test_there_is_one_function_of_the_name() -> None:
    """Catches a second list of places, and a second function that goes through it."""
    root = Path(__file__).resolve().parents[3]
    files = [*root.glob("src/**/*.py"), *root.glob("cosmos_predict1/**/*.py")]
    defining = [path for path in files if "def find_checkpoint(" in path.read_text()]
    assert [str(path.relative_to(root)) for path in defining] == ["src/checkpoints/__init__.py"]
