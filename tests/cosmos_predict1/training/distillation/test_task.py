"""The distillation as a whole, at the smallest size: resumed, exported, sampled."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_generator import NETWORK, write_tiny_weights
from tiny_scene import TinyInput, write_tiny_input

from cosmos_predict1.diffusion.model.architecture import read_config
from cosmos_predict1.diffusion.model.network import load_generator
from cosmos_predict1.training.config import GeneratorTrainConfig
from cosmos_predict1.training.distillation.config import DistillTrainConfig
from cosmos_predict1.training.distillation.task import DistillTask
from cosmos_predict1.training.task import GeneratorTask
from nano.release import export_weights
from src.config.loading import command_line_layer, file_layer, load_train_config
from src.runtime import InputError
from src.training.checkpoints.files import list_checkpoints
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.task import Share, Stopwatch

LEVELS = (80.0, 7.44, 2.49, 0.83)
SHARED = ("lora.rank=2", "loop.ema=false")


@pytest.fixture(autouse=True)
def _new_launch() -> Iterator[None]:
    """Each test is a launch of its own; accelerate remembers settings for the whole process."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    """Clips of a folder, which need no rendering, and the weights of a teacher."""
    tiny = write_tiny_input(tmp_path_factory.mktemp("tiny"))
    write_tiny_weights(tiny.folder)
    return tiny


def distill_config(tiny: TinyInput, out: Path, *settings: str) -> DistillTrainConfig:
    given = (
        f"tokenizer={tiny.folder}/tokenizer",
        f"teacher={tiny.folder}",
        f"data.root={tiny.root}",
        "data.held_out=1",
        "data.worlds.static=0",
        "data.worlds.dynamic=0",
        f"loop.output_dir={out}",
        "loop.mixed_precision='no'",
        "loop.batch_size=2",
        "loop.max_steps=6",
        "loop.total_minutes=null",
        "loop.validate_every=0",
        "loop.report_every=1",
        "guidance=0.5",
        "optim.learning_rate=0.002",
    )
    layers = [
        file_layer("configs/nano/training/distill.yaml"),
        command_line_layer([*given, *settings]),
    ]
    return load_train_config(DistillTrainConfig, layers)


def run(config: DistillTrainConfig) -> list[float]:
    """The losses of a run."""
    train(DistillTask(config), config.loop, config.optim)
    records = read_journal(Path(config.loop.output_dir))
    return [record["loss"] for record in records if "loss" in record]


def newest(config: DistillTrainConfig) -> Path:
    return list_checkpoints(Path(config.loop.output_dir))[-1]


def test_the_shipped_configurations_load() -> None:
    """A key that does not exist, other levels than those of the sampler."""
    nano = ["configs/nano/training/distill.yaml", "configs/nano/training/distill_distribution.yaml"]
    for names in (["configs/training/distill.yaml"], nano[:1], nano):
        config = load_train_config(DistillTrainConfig, [file_layer(name) for name in names])
        assert tuple(config.levels) == LEVELS
        assert config.method == ("distribution" if names == nano else "consistency")
    assert config.loop.total_minutes and config.data.worlds.static


@pytest.mark.parametrize(
    ("method", "shared"), [("consistency", SHARED), ("distribution", ()), ("distribution", SHARED)]
)
def test_a_resumed_run_goes_on_to_the_bit(
    tiny: TinyInput, tmp_path: Path, method: str, shared: tuple[str, ...]
) -> None:
    """A critic, a place in the cycle, or a roll-out that a checkpoint forgets."""
    settings = (f"method={method}", *shared, "loop.checkpoint_every=3")
    whole = run(distill_config(tiny, tmp_path / "whole", *settings))
    pieces = distill_config(tiny, tmp_path / "pieces", *settings, "loop.stop_after=3")
    run(pieces)
    assert run(pieces) == whole
    assert len(whole) == 6 and all(map(math.isfinite, whole)) and all(whole)
    records = read_journal(tmp_path / "whole")
    if method == "distribution":
        roles = ["loss_student" in record for record in records]
        assert roles == [False, False, False, False, True, False]
    ours, theirs = (newest(distill_config(tiny, tmp_path / n)) for n in ("whole", "pieces"))
    for path in ours.rglob("*.safetensors"):
        assert all(
            torch.equal(part, load_file(theirs / path.relative_to(ours))[name])
            for name, part in load_file(path).items()
        ), path


@pytest.mark.parametrize("shared", [(), SHARED])
def test_matching_begins_from_consistency_and_exports_the_student(
    tiny: TinyInput, tmp_path: Path, shared: tuple[str, ...]
) -> None:
    """A student that begins as the teacher; a critic in the exported weights, or none to resume."""
    first = distill_config(tiny, tmp_path / "first", *shared)
    run(first)
    start = f"loop.initial_weights={newest(first)}"
    # Four updates train the critic alone.
    settings = ("method=distribution", start, *shared, "loop.max_steps=4")
    second = distill_config(tiny, tmp_path / "second", *settings)
    run(second)
    before, after = (load_generator(newest(config)).state_dict() for config in (first, second))
    assert all(torch.equal(part, after[name]) for name, part in before.items())
    teacher = load_generator(tiny.folder).state_dict()
    assert any(not torch.equal(part, before[name]) for name, part in teacher.items())
    assert (newest(second) / "critic").is_dir()
    export_weights(tmp_path / "second", tmp_path / "exported")
    network = load_generator(tmp_path / "exported")
    assert network.config.sampling.levels == LEVELS
    assert not (tmp_path / "exported" / "critic").exists()
    for name, part in network.state_dict().items():
        torch.testing.assert_close(part, after[name], msg=name)
    if not shared:
        critic = load_generator(newest(second) / "critic").state_dict()
        assert any(not torch.equal(part, critic[name]) for name, part in teacher.items())


def test_validation_samples_with_four_forwards(tiny: TinyInput, tmp_path: Path) -> None:
    """Held-out clips that are sampled as the teacher's, or with guidance."""
    task = DistillTask(distill_config(tiny, tmp_path / "run"))
    model = task.build(torch.device("cpu"), Stopwatch())
    levels: list[float] = []
    model.network.register_forward_pre_hook(
        lambda _, inputs: levels.append((4 * inputs[1][0]).exp().item())
    )
    result = task.validate(model, Share())
    assert result.count == 3 and "psnr" in result.figures
    assert levels == pytest.approx(LEVELS * 3, rel=1e-4)


def test_what_a_user_got_wrong(tiny: TinyInput, tmp_path: Path) -> None:
    """Runs that fail late, or train what nobody asked for."""
    for settings, message in (
        (("levels=[]",), "levels"),
        (("levels=[1.0,2.0]",), "falling"),
        (("guidance=-1",), "guidance"),
        (("validation.guidances=[1.0]",), "guidances"),
        (("method=adversarial",), "method"),
        (("teacher=nowhere",), "nowhere"),
        (("distribution.period=1",), "period"),
        (("consistency.levels=1",), "levels"),
    ):
        with pytest.raises(InputError, match=message):
            DistillTask(distill_config(tiny, tmp_path / "run", *settings))
    config = distill_config(tiny, tmp_path / "one", "loop.max_steps=1")
    run(config)
    assert read_config(newest(config)).sampling.levels == LEVELS
    with pytest.raises(InputError, match="not distilled themselves"):
        DistillTask(distill_config(tiny, tmp_path / "two", f"teacher={newest(config)}"))
    layer = command_line_layer([f"loop.initial_weights={newest(config)}", "data.root=clips"])
    with pytest.raises(InputError, match="not distilled: their loss"):
        GeneratorTask(load_train_config(GeneratorTrainConfig, [layer]))
    task = DistillTask(distill_config(tiny, tmp_path / "two", "lora.rank=2"))
    with pytest.raises(InputError, match="no adapters"):
        task.read_weights(newest(config))
    matching = DistillTask(distill_config(tiny, tmp_path / "two", "method=distribution"))
    with pytest.raises(InputError, match="one process"):
        matching.batches(Share(0, 2), lambda: 0.0)
    assert NETWORK.sampling.guidance == 1 and task.network_config.sampling.guidance == 0
