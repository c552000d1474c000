"""The generator's training as a whole, at the smallest size."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_generator import NETWORK
from tiny_scene import FRAMES, HEIGHT, WIDTH, TinyInput, write_tiny_input
from tiny_training_generator import generator_config

from cosmos_predict1.diffusion.model.architecture import parse_config
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, load_generator, save_generator
from cosmos_predict1.training.config import GeneratorTrainConfig
from cosmos_predict1.training.latents import LatentBatch
from cosmos_predict1.training.objective import GeneratorObjective
from cosmos_predict1.training.task import GeneratorTask
from cosmos_predict1.training.validation import means
from src.config.loading import file_layer, load_train_config
from src.runtime import InputError
from src.training.checkpoints.files import list_checkpoints
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.task import Share, Stopwatch, joined


@pytest.fixture(autouse=True)
def _new_launch() -> Iterator[None]:
    """Each test is a launch of its own; accelerate remembers settings for the whole process."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("tiny"))


def folder_config(tiny: TinyInput, out: Path, *settings: str) -> GeneratorTrainConfig:
    """A run on the clips of a folder, which need no rendering."""
    data = (f"data.root={tiny.root}", "data.held_out=1", "data.worlds.static=0")
    return generator_config(tiny.folder, f"loop.output_dir={out}", *data, *settings)


def run(config: GeneratorTrainConfig) -> list[float]:
    """The losses of a run."""
    train(GeneratorTask(config), config.loop, config.optim)
    records = read_journal(Path(config.loop.output_dir))
    return [record["loss"] for record in records if "loss" in record]


def newest(config: GeneratorTrainConfig) -> Path:
    return list_checkpoints(Path(config.loop.output_dir))[-1]


def test_the_shipped_configurations_load() -> None:
    """A key that does not exist; a small network beyond its budget."""
    for name in ("configs/nano/training/generator.yaml", "configs/training/generator.yaml"):
        config = load_train_config(GeneratorTrainConfig, [file_layer(name)])
        if not config.network:
            assert config.lora.rank and config.loop.initial_weights
            continue
        network = parse_config(name, config.network)
        assert (network.in_channels, network.rope_precision) == (81, "exact")
        assert network.sampling.text_encoder == "none"
        with torch.device("meta"):
            parameters = sum(part.numel() for part in Gen3CTransformer(network).parameters())
        assert parameters <= 5.5e6


def test_a_resumed_run_goes_on_to_the_bit(tiny: TinyInput, tmp_path: Path) -> None:
    """Noise or an order of clips that a checkpoint forgets."""
    settings = ("loop.max_steps=4", "loop.checkpoint_every=2", "loop.batch_size=3")
    whole = run(folder_config(tiny, tmp_path / "whole", *settings))
    pieces = folder_config(tiny, tmp_path / "pieces", *settings, "loop.stop_after=2")
    assert len(run(pieces)) == 2
    assert run(pieces) == whole
    assert len(whole) == 4 and all(map(math.isfinite, whole))


def test_checkpoints_are_weights_of_the_commands(tiny: TinyInput, tmp_path: Path) -> None:
    """A folder without the sizes that were trained, or with other weights than the network's."""
    config = folder_config(tiny, tmp_path / "run")
    run(config)
    network = load_generator(newest(config))
    assert network.config == NETWORK
    weights = load_file(newest(config) / "diffusion_pytorch_model.safetensors")
    read = GeneratorTask(config).read_weights(newest(config))
    assert all(torch.equal(read[name], part) for name, part in weights.items())
    other = folder_config(tiny, tmp_path / "other", "network.num_layers=1")
    with pytest.raises(InputError, match=r"transformer_blocks\.1"):
        GeneratorTask(other).read_weights(newest(config))


def test_only_adapters_train_and_merged_weights_load(tiny: TinyInput, tmp_path: Path) -> None:
    """Frozen weights that move, adapters that don't, a resumed run that lost them."""
    torch.manual_seed(0)
    network = Gen3CTransformer(NETWORK)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_generator(network, tmp_path / "initial" / "generator")
    lora = (f"loop.initial_weights={tmp_path}/initial", "lora.rank=2")
    settings = ("loop.checkpoint_every=2", "optim.learning_rate=0.01")
    config = folder_config(tiny, tmp_path / "whole", *settings, *lora, "loop.max_steps=4")
    config.network.clear()
    whole = run(config)
    pieces = folder_config(
        tiny, tmp_path / "pieces", *settings, *lora, "loop.max_steps=4", "loop.stop_after=2"
    )
    pieces.network.clear()
    run(pieces)
    assert run(pieces) == whole
    merged = load_generator(newest(config)).state_dict()
    initial = network.state_dict()
    for name, part in merged.items():
        adapted = name.endswith(("to_q.weight", "ff.net.2.weight"))
        if adapted and "attn2" not in name:
            assert not torch.equal(part, initial[name]), name
        if "norm" in name or "embed" in name or "proj_out" in name:
            assert torch.equal(part, initial[name]), name
    assert (newest(config) / "adapter_model.safetensors").is_file()


def test_validation_compares_with_truth_ceiling_and_warps(tiny: TinyInput, tmp_path: Path) -> None:
    """Figures of the wrong clips, a model that is not asked, or pictures that don't fit."""
    config = folder_config(tiny, tmp_path / "run", "validation.guidances=[0.0,1.0]")
    task = GeneratorTask(config)
    model = task.build(torch.device("cpu"), Stopwatch(torch.device("cpu"), False))
    result = task.validate(model, Share())
    assert result.count == 3
    for prefix in ("", "tokenizer_", "warp_"):
        assert all(f"{prefix}psnr{name}" in result.figures for name in ("", "_visible", "_last"))
    assert "psnr_guidance_1" in result.figures
    assert result.figures["warp_psnr_visible"] > result.figures["psnr_visible"]
    assert result.picture is not None
    assert result.picture.shape == (3 * (3 * HEIGHT + 8), 3 * WIDTH + 8, 3)

    class Perfect(GeneratorObjective):
        """Knows the clips."""

        def forward(self, batch: LatentBatch, sampling: object = None) -> dict:
            return {"latents": batch.latents}

    perfect = Perfect(model.network, config.edm, model.text, model.negative_text)
    figures = task.validate(perfect, Share()).figures
    for name in ("psnr", "psnr_visible", "psnr_last"):
        assert figures[name] == pytest.approx(figures[f"tokenizer_{name}"], abs=1e-3)
    two = [task.validate(perfect, Share(rank, 2)) for rank in range(2)]
    assert sum(part.count for part in two) == 3
    mean = sum(part.figures["psnr"] * part.count for part in two) / 3
    assert mean == pytest.approx(figures["psnr"], abs=1e-3)


def test_clips_without_a_figure_do_not_weigh_in_its_mean() -> None:
    """Clips without holes that count as if their hidden pixels had been measured."""
    ranks = []
    for values in ([10.0, torch.nan, torch.nan], [16.0, 22.0]):
        ranks.append(means({"psnr_hidden": [torch.tensor(values)]}, len(values)))
    assert joined(ranks).figures == {"psnr_hidden": 16.0} and joined(ranks).count == 5


def test_what_a_user_got_wrong(tiny: TinyInput, tmp_path: Path) -> None:
    """Runs that fail late, or train what nobody asked for."""
    cases = {
        "data.root=null": ("data.worlds.dynamic=0", "data.root"),
        "lora.rank=2": ("seed=1", "initial_weights"),
        "network.gen3c.height=40": ("network.gen3c.width=48", "height"),
        "network.num_heads=2": ("edm.dropout=0", "num_heads"),
    }
    for setting, (other, message) in cases.items():
        settings = [setting] if other == "seed=1" else [setting, other]
        with pytest.raises(InputError, match=message):
            GeneratorTask(folder_config(tiny, tmp_path / "run", *settings))


def test_clips_must_fit_the_tokenizer(tiny: TinyInput, tmp_path: Path) -> None:
    """Statistics that don't cover the clips, found after minutes of encoding."""
    assert FRAMES == 9
    config = folder_config(tiny, tmp_path / "run", "network.gen3c.num_frames=17")
    task = GeneratorTask(config)
    with pytest.raises(InputError, match="statistics"):
        task.build(torch.device("cpu"), Stopwatch(torch.device("cpu"), False))
