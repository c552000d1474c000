"""The stand-ins are what they stand for: counts of the published files, and files that can be read.

The program's readers take every file as it lies, beside foreign files of the same repositories.
"""

from math import prod
from pathlib import Path

import pytest
import torch
from published import decoder_file, generator_file, tokenizer_files
from published.generator_file import GeneratorSize
from published.layout import TINY, Standins, write_standins
from published.readme import block_commands
from published.scenes import FRAMES, VIDEO, write_training_parts

from cosmos_predict1.diffusion.model.network import load_generator
from cosmos_predict1.diffusion.model.text import PromptEncoder
from src.depth.backends.vipe import ResizeCrop, read_vipe
from src.evaluation.metrics import load_lpips
from src.io.clip.clip import ClipPaths, list_keys, open_clip
from src.io.clip.packed import open_root
from src.models.recon.decoder import load_decoder
from src.tokenizer.loading import load_tokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Standins:
    return write_standins(tmp_path_factory.mktemp("stand-ins"), TINY)


def test_the_full_size_has_the_published_counts() -> None:
    """Catches a name or a shape of the stand-ins that the published files do not have."""
    shapes = dict(generator_file.network_shapes(GeneratorSize()))
    # Four more tensors of the file belong to no network.
    assert len(shapes) + 4 == generator_file.ENTRIES
    assert sum(map(prod, shapes.values())) == generator_file.PARAMETERS
    base = tokenizer_files.BASE
    shapes = dict(tokenizer_files.encoder_shapes(base)) | dict(tokenizer_files.decoder_shapes(base))
    assert len(shapes) == 310 and sum(map(prod, shapes.values())) == tokenizer_files.PARAMETERS
    shapes = dict(decoder_file.decoder_shapes())
    assert len(shapes) == decoder_file.ENTRIES
    assert sum(map(prod, shapes.values())) == decoder_file.PARAMETERS


def test_every_reader_takes_its_file(made: Standins) -> None:
    """Catches a published container that the program refuses, or weights whose results explode."""
    root = made.checkpoints
    network = load_generator(root / "Gen3C-Cosmos-7B", "cpu", torch.float32)
    assert network.config.num_layers == TINY.generator.blocks
    decoder = load_decoder(root / "Lyra" / "lyra_static.pt")
    assert sum(part.numel() for part in decoder.parameters()) == decoder_file.PARAMETERS
    tokenizer = load_tokenizer(root / "Cosmos-Tokenize1-CV8x8x8-720p")
    assert tokenizer.statistics.max_latent_frames == 16
    with torch.no_grad():
        latents = tokenizer.encode(torch.rand(1, 3, 9, 32, 64) * 2 - 1)
        pictures = tokenizer.decode(latents)
    assert 0.1 < latents.std() < 3 and 0.1 < pictures.std() < 3
    distance = load_lpips(root / "lpips")(torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64))
    assert torch.isfinite(distance).all()


def test_text_is_tokenised_with_either_file(made: Standins, tmp_path: Path) -> None:
    """Catches a vocabulary of one published file that is not that of the other.

    Without `tokenizer.json` transformers wants the package sentencepiece.
    """
    pytest.importorskip("sentencepiece")
    source = made.checkpoints / "google-t5" / "t5-11b"
    found = []
    for name, without in (("both", ""), ("pieces", "tokenizer.json")):
        folder = tmp_path / name / "google-t5" / "t5-11b"
        folder.mkdir(parents=True)
        for path in source.iterdir():
            if path.name != without:
                (folder / path.name).symlink_to(path)
        found.append(PromptEncoder(tmp_path / name)("a dog"))
    assert found[0].any()
    torch.testing.assert_close(*found)


def test_the_data_sets_are_read_as_published(made: Standins, tmp_path: Path) -> None:
    """Catches trees, latents or tar parts that the readers do not take for clips."""
    (demo,) = made.datasets.values()
    size = TINY.scene
    video = read_vipe(demo / "dynamic/diffusion_input", size=ResizeCrop((40, 64), (32, 64)))
    assert len(video) == FRAMES and torch.isfinite(video.depth).all()
    clips = demo / "dynamic" / "diffusion_output"
    write_training_parts(tmp_path / "parts", clips, "dynamic")
    for root in (clips, open_root(tmp_path / "parts")):
        assert list_keys(root) == [VIDEO]
        clip = open_clip(ClipPaths(root, "5", VIDEO))
        assert clip.latents().shape == (16, 16, size.height // 8, size.width // 8)
        assert clip.has_depth and clip.num_frames == FRAMES


def test_commands_are_read_off_blocks() -> None:
    """Catches a command that is passed over, cut, or taken from another section."""
    readme = """# Title
```bash
not this
```
## Here
`nor this`
```bash
# a remark
first --flag \\
    value   # why
second
```
```text
git clone nothing
torchrun third
```
## There
```bash
elsewhere
```
"""
    commands = [command.text for command in block_commands(readme, ["Here"])]
    assert commands == ["first --flag \\\n    value   # why", "second", "torchrun third"]
