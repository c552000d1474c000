"""Stand-ins of everything that is published: what there is of each size, and where it lies.

See standins.py.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from published.decoder_file import write_decoder
from published.depth_file import write_depth_model
from published.generator_file import FOREIGN_CONFIG, GeneratorSize, write_generator
from published.metric_files import write_metric
from published.random_tensors import POOL, RandomTensors
from published.scenes import ClipsSize, write_demo_set
from published.text_files import write_embeddings, write_text_encoder
from published.tokenizer_files import TokenizerSize, write_tokenizer

from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, write_config
from src.checkpoints import TOKENIZER

# Which folder of the checkpoints comes from which repository.
FOLDERS = {
    "Gen3C-Cosmos-7B": "nvidia/GEN3C-Cosmos-7B",
    TOKENIZER: f"nvidia/{TOKENIZER}",
    "Lyra": "nvidia/Lyra",
    "google-t5/t5-11b": "google-t5/t5-11b",
    "moge": "Ruicheng/moge-vitl",
}
DEMO = "nvidia/Lyra-Testing-Example"
PARTS = ("gen3c", "tokenizer", "lyra", "t5", "moge", "lpips", "demo")


@dataclass(frozen=True)
class LayoutSize:
    """How large everything is; `log_scale` is the raw size of the decoders' Gaussians."""

    name: str
    generator: GeneratorSize
    tokenizer: TokenizerSize
    scene: ClipsSize
    log_scale: float
    pool: int
    steps: int = 35


TINY = LayoutSize(
    "tiny", GeneratorSize(2, 12, 2, 16, 4), TokenizerSize(8), ClipsSize(32, 64), -0.6, 2**20, 2
)
FULL = LayoutSize("full", GeneratorSize(), TokenizerSize(), ClipsSize(704, 1280), -2.4, POOL)
SIZES = {size.name: size for size in (TINY, FULL)}


@dataclass(frozen=True)
class Standins:
    """Where everything lies below `folder`."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """A complete checkpoint folder."""
        return self.folder / "checkpoints"

    @property
    def models(self) -> dict[str, Path]:
        """The hub's repositories of models."""
        folders = {name: self.folder / "hub" / name for name in FOLDERS.values()}
        return {name: folder for name, folder in folders.items() if folder.is_dir()}

    @property
    def datasets(self) -> dict[str, Path]:
        """The hub's repositories of data."""
        folder = self.folder / "datasets" / DEMO
        return {DEMO: folder} if folder.is_dir() else {}

    @property
    def plain(self) -> dict[str, Path]:
        """Files that come from plain URLs, by name."""
        folder = self.checkpoints / "lpips"
        return {path.name: path for path in sorted(folder.glob("*"))}


def write_standins(
    folder: Path, size: LayoutSize, without: Collection[str] = (), seed: int = 0
) -> Standins:
    """Write everything but the parts `without`; instead of T5 the two embeddings it leaves."""
    numbers = RandomTensors(seed, size.pool)
    made = Standins(folder)
    for part in PARTS:
        if part not in without:
            _write_part(part, made, size, numbers)
    if "t5" in without:
        write_embeddings(made.checkpoints, size.generator.text, numbers)
    for name, repository in FOLDERS.items():
        if (made.checkpoints / name).is_dir():
            _link(made.checkpoints / name, folder / "hub" / repository)
    return made


def _write_part(part: str, made: Standins, size: LayoutSize, numbers: RandomTensors) -> None:
    root = made.checkpoints
    if part == "gen3c":
        write_generator(root / "Gen3C-Cosmos-7B", size.generator, numbers)
        _write_generator_config(root / "Gen3C-Cosmos-7B", size)
    elif part == "tokenizer":
        write_tokenizer(root / TOKENIZER, size.tokenizer, numbers)
    elif part == "lyra":
        for name in ("static", "dynamic"):
            write_decoder(root / f"Lyra/lyra_{name}.pt", numbers, size.log_scale)
    elif part == "t5":
        write_text_encoder(root / "google-t5/t5-11b", size.generator.text, numbers)
    elif part == "moge":
        write_depth_model(root / "moge/model.pt", size.name, numbers)
    elif part == "lpips":
        write_metric(root / "lpips", numbers)
    else:
        write_demo_set(made.folder / "datasets" / DEMO, size.scene, numbers)


def _write_generator_config(folder: Path, size: LayoutSize) -> None:
    if size.generator == GeneratorSize():
        (folder / "config.json").write_text(FOREIGN_CONFIG)
        return
    scene = size.scene
    recipe = SamplingDefaults(
        height=scene.height,
        width=scene.width,
        num_frames=scene.frames,
        fps=24.0,
        num_steps=size.steps,
    )
    write_config(size.generator.config(recipe), folder)


def _link(source: Path, folder: Path) -> None:
    """The files of a folder under another name, without a second copy of them."""
    for path in source.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                copy.hardlink_to(path)
            except OSError:
                shutil.copy(path, copy)
