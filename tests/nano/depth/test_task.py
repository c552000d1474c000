"""The depth task in the training loop: what it learns from, writes and resumes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nano.depth.augment import whole_part
from nano.depth.config import DepthTrainConfig
from nano.depth.data import world_frames
from nano.depth.losses import depth_figures
from nano.depth.task import DepthBatches, DepthTask, take
from src.config.loading import Layer, file_layer, load_train_config, settings_text, task_name
from src.depth.backends.nano import NanoDepth, NanoPrediction, load_nano_depth
from src.runtime import InputError
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.settings import LoopConfig
from src.training.task import Batches, Share, Stopwatch, Task

SMALL = {
    "data.worlds": 3,
    "data.frames": 2,
    "data.pool_size": [32, 48],
    "data.supersample": 1,
    "data.held_out": 2,
    "data.held_out_frames": 2,
    "network.widths": [8, 8, 8, 8],
    "network.blocks": [1, 1, 1, 1],
    "network.height": 32,
    "network.width": 48,
    "loop.batch_size": 2,
}
FILE = "configs/nano/training/depth.yaml"


def nested(values: dict) -> dict:
    """Dotted names as dictionaries of dictionaries."""
    tree: dict = {}
    for name, value in values.items():
        group, field = name.split(".")
        tree.setdefault(group, {})[field] = value
    return tree


def small(loop: LoopConfig) -> DepthTrainConfig:
    """The shipped configuration with little of everything, and the run of `loop`."""
    layers = [file_layer(FILE), Layer("test", nested(SMALL))]
    config = load_train_config(DepthTrainConfig, layers)
    return replace(config, loop=replace(loop, batch_size=2))


def loss_curve(folder: str) -> list[float]:
    return [record["loss"] for record in read_journal(Path(folder)) if "loss" in record]


def test_the_shipped_configuration_is_of_the_shipped_network() -> None:
    """A file that trains another network than the one that the project says it ships."""
    layers = [file_layer(FILE)]
    config = load_train_config(DepthTrainConfig, layers)
    assert task_name(layers) == "depth"
    assert sum(part.numel() for part in NanoDepth(config.network).parameters()) == 709_547
    assert config.optim.schedule == "cosine" and config.loop.ema
    again = load_train_config(DepthTrainConfig, [_as_layer(config)])
    assert again == config


def _as_layer(config: DepthTrainConfig) -> Layer:
    import yaml

    return Layer("config.yaml", yaml.safe_load(settings_text(config, "depth")))


def test_training_writes_what_nano_loads_and_validates(loop: LoopConfig) -> None:
    """Weights of another network, figures that are missing, a picture that is none."""
    config = small(replace(loop, validate_every=3))
    task = DepthTask(config)
    assert isinstance(task, Task)
    assert train(task, config.loop, config.optim) == 6
    folder = Path(config.loop.output_dir)
    network = load_nano_depth(folder / "checkpoint-6")
    assert network.config == task.config.network
    journal = read_journal(folder)
    assert {"loss_shape", "loss_gradient", "loss_mask", "loss_focal"} <= journal[0].keys()
    validations = [record for record in journal if "validation_absrel" in record]
    assert [record["step"] for record in validations] == [3, 6]
    assert {"validation_delta_scaled", "validation_focal"} <= validations[0].keys()
    assert (folder / "validation" / "step-000006.png").is_file()


def test_a_run_in_pieces_is_the_run_in_one_to_the_bit(loop: LoopConfig) -> None:
    """Batches that do not go on where they stopped, or depend on what was drawn before."""
    whole = small(replace(loop, output_dir=loop.output_dir + "-whole"))
    train(DepthTask(whole), whole.loop, whole.optim)
    config = small(loop)
    train(DepthTask(config), replace(config.loop, stop_after=3), config.optim)
    train(DepthTask(config), config.loop, config.optim)
    assert loss_curve(config.loop.output_dir) == loss_curve(whole.loop.output_dir)


def test_one_batch_is_learnt_by_heart() -> None:
    """A loss that does not lead the network anywhere."""
    torch.manual_seed(0)
    config = small(LoopConfig())
    task = DepthTask(config)
    objective = task.build(torch.device("cpu"), Stopwatch())
    batch = task.batches(Share(), lambda: 0.0).batch(0)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = objective(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_batches_differ_by_number_and_process_and_name_their_frames(loop: LoopConfig) -> None:
    """The same pictures again and again, on every process; keys that say nothing."""
    config = small(loop)
    pool = world_frames(config.data, Share(), torch.device("cpu"))
    batches = DepthBatches(pool, config, Share(position=4))
    assert isinstance(batches, Batches)
    fourth = next(iter(batches))
    assert batches.position == 5
    torch.testing.assert_close(fourth.image, batches.batch(4).image)
    assert not torch.equal(fourth.image, batches.batch(5).image)
    other = DepthBatches(pool, config, Share(rank=1, position=4)).batch(4)
    assert not torch.equal(fourth.image, other.image)
    assert fourth.image.shape == (2, 3, 32, 48)
    assert fourth.image.min() >= 0 and fourth.image.max() <= 1
    assert DepthTask(config).keys(fourth)[0].startswith("world ")


def test_pictures_without_depth_do_not_weigh(loop: LoopConfig) -> None:
    """Means over batches as if those with pictures of the sky knew as much as the others."""
    config = small(loop)
    config = replace(config, data=replace(config.data, held_out=5, held_out_frames=4))
    task = DepthTask(config)
    objective = task.build(torch.device("cpu"), Stopwatch())
    pool = task._held_out = world_frames(config.data, Share(), torch.device("cpu"), held_out=True)
    # Two batches; in the first one only the last picture shows more than sky.
    pool.depth[:15] = 0
    with torch.no_grad():
        result = task.validate(objective, Share())
        size = (config.network.height, config.network.width)
        samples = whole_part(take(pool, [*range(15, 20)]), size)
        expected = depth_figures(NanoPrediction(**objective(samples, predict=True)), samples)
    assert result.count == 5
    assert result.figures == pytest.approx(expected, rel=1e-4)


def test_weights_are_those_of_the_configured_network(loop: LoopConfig, tmp_path: Path) -> None:
    """Weights of a wider network that fail with a list of tensors."""
    config = small(loop)
    network = NanoDepth(config.network)
    task = DepthTask(config)
    task.write_weights(tmp_path, dict(network.state_dict()))
    found = task.read_weights(tmp_path)
    assert all(torch.equal(found[name], part) for name, part in network.state_dict().items())
    wider = replace(config, network=replace(config.network, widths=(8, 8, 8, 16)))
    with pytest.raises(InputError, match="widths"):
        DepthTask(wider).read_weights(tmp_path)


def test_nothing_held_out_is_no_validation(loop: LoopConfig) -> None:
    """A validation that divides by no pictures."""
    config = small(loop)
    config = replace(config, data=replace(config.data, held_out=0))
    task = DepthTask(config)
    objective = task.build(torch.device("cpu"), Stopwatch())
    assert task.validate(objective, Share()).count == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data.worlds": 0}, "data.worlds"),
        ({"data.dynamic_share": 1.5}, "dynamic_share"),
        ({"data.held_out": 65}, "held_out"),
        ({"data.seed": 99_999}, "data.seed"),
        ({"data.pool_size": [30, 48]}, "multiples of 16"),
        ({"network.width": 40}, "multiples of 16"),
        ({"augment.closest": 0.0}, "closest"),
        ({"augment.borders": 2.0}, "borders"),
        ({"loss.mask": -1.0}, "mask"),
        ({"data.wrlds": 3}, "worlds"),
    ],
)
def test_impossible_settings_are_refused(change: dict, expected: str) -> None:
    """A message from deep inside, an hour later; training worlds that are held out."""
    with pytest.raises(InputError, match=expected):
        load_train_config(DepthTrainConfig, [Layer("test", nested(change))])


@pytest.mark.gpu
def test_on_the_gpu_the_compiled_network_trains_in_bfloat16(tmp_path: Path) -> None:
    """Weights under other names, types that do not fit, a graph that computes something else."""
    # Checks of annotations cannot be compiled, so all of it runs apart from the tests' hook.
    code = (
        "import sys, torch\n"
        "from dataclasses import replace\n"
        "from nano.depth.config import DepthTrainConfig\n"
        "from src.config.loading import load_train_config\n"
        "from src.config.loading import command_line_layer, file_layer\n"
        "from nano.depth.task import DepthBatches, DepthTask\n"
        "from nano.depth.data import world_frames\n"
        "from src.training.loop.run import train\n"
        "from src.training.task import Stopwatch\n"
        "from src.training.task import Share\n"
        "layers = [file_layer(sys.argv[1]), command_line_layer(sys.argv[2:])]\n"
        "config = load_train_config(DepthTrainConfig, layers)\n"
        "train(DepthTask(config), config.loop, config.optim)\n"
        "device = torch.device('cuda', torch.cuda.current_device())\n"
        "parts = (config, replace(config, compile=False))\n"
        "compiled, plain = (DepthTask(part).build(device, Stopwatch()) for part in parts)\n"
        "assert compiled._run != compiled.network.forward, 'not compiled'\n"
        "plain.load_state_dict(compiled.state_dict())\n"
        "pool = world_frames(config.data, Share(), device)\n"
        "batch = DepthBatches(pool, config, Share()).batch(0)\n"
        "losses = [objective(batch)['loss'] for objective in (compiled, plain)]\n"
        "torch.testing.assert_close(*losses, rtol=1e-2, atol=1e-3)\n"
    )
    run = {
        "loop.output_dir": tmp_path,
        "loop.max_steps": 6,
        "loop.checkpoint_every": 6,
        "loop.report_every": 3,
        "loop.validate_every": 3,
    }
    arguments = [f"{key}={value}" for key, value in (SMALL | run).items()]
    command = [sys.executable, "-c", code, FILE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load_nano_depth(tmp_path / "checkpoint-6", "cuda")
