"""The tokenizer's task at the smallest size: data, runs, resuming, weights that others read."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nano.data.pools import PoolSource
from nano.evaluation.figures.tokenizer import world_figures
from src.config.loading import command_line_layer, file_layer, load_train_config
from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip, ClipPaths, write_clip
from src.runtime import InputError
from src.tokenizer.loading import load_tokenizer
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.task import Stopwatch
from src.training.tokenizer.clips import THREADS, FolderSource, folder_clips
from src.training.tokenizer.config import (
    PoolConfig,
    TokenizerAugmentConfig,
    TokenizerDataConfig,
    TokenizerLossConfig,
    TokenizerTrainConfig,
)
from src.training.tokenizer.data import TokenizerBatch, TokenizerBatches
from src.training.tokenizer.task import TokenizerObjective, TokenizerTask, export_tokenizer

CPU = torch.device("cpu")
SETTINGS = (
    "network.encoder=[8,8,8,8]",
    "network.decoder=[8,8,8,8]",
    "network.num_layers=1",
    "data.frames=9",
    "data.image_size=[24,32]",
    "data.crop=[16,16]",
    "data.full_frame_batch=1",
    "data.full_frame_share=0.5",
    "data.held_out=1",
    "data.statistics_clips=2",
    "data.supersample=1",
    "data.pools=[{worlds: 2, palette: vivid}, {worlds: 1, seed: 100000, dynamic: true}]",
    "loop.batch_size=2",
    "loop.checkpoint_every=2",
    "loop.validate_every=2",
    "loop.max_steps=4",
    "loop.workers=2",
)


def tiny(out: Path, *settings: str) -> TokenizerTrainConfig:
    layers = [command_line_layer([*SETTINGS, f"loop.output_dir={out}", *settings])]
    config = load_train_config(TokenizerTrainConfig, layers)
    # YAML takes "no" for a truth value.
    return replace(config, loop=replace(config.loop, mixed_precision="no"))


def run(config: TokenizerTrainConfig) -> int:
    return train(TokenizerTask(config), config.loop, config.optim)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of three scenes along two trajectories, 11 frames each."""
    root = tmp_path / "clips"
    for index in range(6):
        frames = torch.full((11, 24, 32, 3), 40 * index, dtype=torch.uint8)
        frames += (2 * torch.arange(11)).to(torch.uint8).view(11, 1, 1, 1)
        c2w = torch.eye(4).repeat(11, 1, 1)
        c2w[:, 0, 3] = torch.arange(11)
        cameras = Cameras(c2w, torch.tensor([30.0, 30, 16, 12]).repeat(11, 1), 32, 24)
        write_clip(ClipPaths(root, str(index % 2), str(index // 2)), Clip(cameras, 24, frames))
    return root


@pytest.mark.slow
def test_two_steps_by_train_py_give_weights_that_load(tmp_path: Path) -> None:
    """A command that does not start, or writes weights or statistics that nobody can read."""
    out = tmp_path / "run"
    settings = [*SETTINGS, f"loop.output_dir={out}", "loop.max_steps=2", "loop.report_every=2"]
    settings += ["data.canvases.canvases=4", "data.canvases.size=[48,64]", "data.canvases.clips=8"]
    arguments = ["train.py", "--config", "configs/nano/training/tokenizer.yaml", *settings]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokenizer = load_tokenizer(out / "checkpoint-2")
    assert tokenizer.statistics.max_latent_frames == 2
    assert (tokenizer.std != 1).all()
    figures = read_journal(out)[-1]
    assert {"validation_psnr_y", "validation_psnr_cb", "validation_gain_cr"} <= figures.keys()
    assert (out / "validation" / "step-000002.png").is_file()
    target = tmp_path / "weights"
    script = ["scripts/nano.py", "export", "tokenizer", str(out), str(target), "--held-out", "1"]
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["average"] is True
    assert load_file(target / "encoder.safetensors")["quant_conv.bias"].dtype == torch.bfloat16


def test_a_run_in_pieces_is_the_run_in_one(tmp_path: Path) -> None:
    """Data that start anew on resuming, or whole frames that come at another step."""
    whole = tiny(tmp_path / "whole")
    assert run(whole) == 4
    pieces = tiny(tmp_path / "pieces", "loop.stop_after=2")
    assert [run(pieces), run(pieces)] == [2, 4]
    one, other = (
        load_file(tmp_path / name / "checkpoint-4" / "decoder.safetensors")
        for name in ("whole", "pieces")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_exported_weights_are_the_average_with_its_statistics(tmp_path: Path) -> None:
    """An export of the raw weights, or with statistics of other weights or other latents."""
    config = tiny(tmp_path / "run", "loop.ema_decay=0.5", "loop.max_steps=2")
    run(config)
    exported = export_tokenizer(config, tmp_path / "run", tmp_path / "out", torch.float32)
    assert exported == {"step": 2, "average": True}
    figures = world_figures(config.data, tmp_path / "out", 1)
    assert figures.keys() == {"static", "dynamic"}
    average = load_file(tmp_path / "run" / "checkpoint-2" / "average.safetensors")
    tokenizer = load_tokenizer(tmp_path / "out")
    for name, value in tokenizer.autoencoder.state_dict().items():
        assert torch.equal(value, average[name])
    source = PoolSource(config.data, CPU, [0])
    video = source.spread(2).color.float() / 127.5 - 1
    latent = tokenizer.encode(video)
    deviation = latent.std(dim=(0, 3, 4), unbiased=False)
    torch.testing.assert_close(tokenizer.mean, latent.mean(dim=(0, 3, 4)), rtol=1e-3, atol=0.05)
    assert ((tokenizer.std / deviation).log().abs() < 0.7).float().mean() > 0.8


def test_a_decoder_alone_keeps_the_latents(tmp_path: Path) -> None:
    """Latents or statistics that no longer fit what was trained on them, or a decoder at rest."""
    first = tiny(tmp_path / "first", "loop.max_steps=2")
    run(first)
    export_tokenizer(first, tmp_path / "first", tmp_path / "start", torch.float32)
    settings = ("decoder_only=true", f"loop.initial_weights={tmp_path / 'start'}")
    config = tiny(tmp_path / "run", *settings, "loop.ema_decay=0.5", "optim.warmup_steps=0")
    run(config)
    export_tokenizer(config, tmp_path / "run", tmp_path / "out", torch.float32)
    before, after = load_tokenizer(tmp_path / "start"), load_tokenizer(tmp_path / "out")
    video = torch.rand(1, 3, 9, 24, 32) * 2 - 1
    torch.testing.assert_close(after.encode(video), before.encode(video), rtol=1e-5, atol=1e-5)
    assert torch.equal(after.mean, before.mean) and torch.equal(after.std, before.std)
    latent = before.encode(video)
    assert not torch.allclose(after.decode(latent), before.decode(latent))
    with pytest.raises(InputError, match=r"loop\.initial_weights.*decoder_only keeps its encoder"):
        tiny(tmp_path / "none", "decoder_only=true")


def built(config: TokenizerTrainConfig) -> TokenizerObjective:
    torch.manual_seed(0)
    return TokenizerTask(config).build(CPU, Stopwatch())


def test_lpips_counts(tmp_path: Path) -> None:
    """A weight without effect, frames out of range."""
    batch = TokenizerBatch(torch.rand(2, 3, 9, 16, 16) * 2 - 1, [])
    plain = built(tiny(tmp_path, "data.held_out=0"))(batch)["loss"]
    objective = built(tiny(tmp_path, "data.held_out=0"))
    objective.config = replace(objective.config, loss=TokenizerLossConfig(lpips=2.0))
    seen: list[Tensor] = []

    def distance(ours: Tensor, theirs: Tensor) -> Tensor:
        seen.extend((ours, theirs))
        return (ours - theirs).abs().mean(dim=(1, 2, 3)) * 0 + 3

    objective.perceptual = distance
    torch.testing.assert_close(objective(batch)["loss"], plain + 6)
    assert seen[0].shape == (4, 3, 16, 16)
    assert all(part.min() >= 0 and part.max() <= 1 for part in seen)


def test_lpips_without_its_weights_stops_the_training(tmp_path: Path) -> None:
    """A training of another loss than was asked for, or a hint that does not help."""
    settings = ("loss.lpips=0.1", f"checkpoint_dir={tmp_path}/none", "loop.max_steps=1")
    words = "loss.lpips=0.1 without lpips/vgg16-397923af.pth, lpips/vgg.pth.*--what lpips"
    with pytest.raises(InputError, match=words) as caught:
        run(tiny(tmp_path / "run", *settings))
    assert "loss.lpips=0 to train without" in str(caught.value)
    assert run(tiny(tmp_path / "run", *settings, "loss.lpips=0")) == 1


def test_weights_are_exported_where_lpips_is_not(tmp_path: Path) -> None:
    """An export that wants the weights of a loss that it does not compute."""
    config = tiny(tmp_path / "run", "loop.max_steps=2", f"checkpoint_dir={tmp_path}/none")
    run(config)
    trained = replace(config, loss=replace(config.loss, lpips=0.1))
    done = export_tokenizer(trained, tmp_path / "run", tmp_path / "out")
    assert done["step"] == 2 and (tmp_path / "out" / "config.json").is_file()


def test_pools_are_drawn_by_their_weights() -> None:
    """Worlds of the wrong look at the start or the end, or a small pool that is drawn as often."""
    pools = [PoolConfig(worlds=4, early=1, late=0), PoolConfig(worlds=2, seed=50, early=1, late=1)]
    size = {"frames": 1, "image_size": (16, 16), "crop": (8, 8), "supersample": 1}
    source = PoolSource(TokenizerDataConfig(pools=pools, **size), CPU, [1])
    early = [key for n in range(40) for key in source.draw(n, 10, 0.0).keys]
    share = np.mean(["world 5" in key for key in early])
    assert 0.4 < share < 0.6 and len(set(early)) == 6
    late = source.draw(0, 20, 1.0)
    assert set(late.keys) == {"world 50 (mixed, plain)", "world 51 (mixed, plain)"}
    assert source.spread(9).keys == ["world 50 (mixed, plain)", "world 51 (mixed, plain)"]
    assert source.draw(3, 5, 0.5).color.equal(source.draw(3, 5, 0.5).color)


def test_whole_frames_come_in_the_last_share(tmp_path: Path) -> None:
    """A run that never sees whole frames, or sees nothing else."""
    config = tiny(tmp_path, "data.full_frame_share=0.25")
    source = PoolSource(config.data, CPU, [1])
    told = iter([0.5, 0.75])
    batches = iter(TokenizerBatches(source, config, lambda: next(told), [1], 2))
    part, whole = next(batches), next(batches)
    assert (part.full, whole.full) == (False, True)
    assert part.video.shape == (2, 3, 9, 16, 16) and whole.video.shape == (1, 3, 9, 24, 32)


class Watched(TokenizerTask):
    """Notes which batches have whole frames."""

    def __init__(self, config: TokenizerTrainConfig) -> None:
        super().__init__(config)
        self.full: list[bool] = []

    def keys(self, batch: TokenizerBatch) -> list[str]:
        self.full.append(batch.full)
        return super().keys(batch)


def test_whole_frames_come_in_the_last_share_of_a_stage_that_goes_on(tmp_path: Path) -> None:
    """Progress of the tokenizer's own, over the steps of all stages, beside that of the rate."""
    run(tiny(tmp_path / "first", "loop.max_steps=2"))
    settings = (f"loop.resume_dir={tmp_path / 'first'}", "loop.stage_steps=4", "loop.max_steps=100")
    stage = tiny(tmp_path / "stage", *settings, "loop.stop_after=3")
    jobs = [Watched(stage), Watched(stage)]
    steps = [train(job, stage.loop, stage.optim) for job in jobs]
    assert steps == [5, 6]
    assert [job.full for job in jobs] == [[False, False, True], [True]]


def test_the_readers_of_a_folder_end_with_the_batches(clips: Path) -> None:
    """Threads that read on for a training that has ended."""
    config = tiny(clips, f"data.root={clips}", "data.crop=[16,16]")
    train_clips, _ = folder_clips(config.data)
    source = FolderSource(config.data, train_clips, CPU, [1], 2)
    for _ in range(2):
        batches = iter(TokenizerBatches(source, config, lambda: 0.0, [1], 0))
        assert len(next(batches).video) == 2
        assert [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
        batches.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]


def test_folders_give_consecutive_frames_with_their_cameras(clips: Path) -> None:
    """Frames and cameras of different places in a clip, validation clips that train too."""
    data = TokenizerDataConfig(
        root=str(clips), frames=9, image_size=(24, 32), crop=(16, 16), held_out=1
    )
    train_clips, held = folder_clips(data)
    assert [path.key for path in train_clips] == ["0", "0", "1", "1"]
    assert [path.key for path in held] == ["2"]
    source = FolderSource(data, train_clips, CPU, [1], 2)
    first = source.draw(0, 8, 0.0)
    again = FolderSource(data, train_clips, CPU, [1], 2).draw(0, 8, 0.0)
    assert first.color.equal(again.color) and first.keys == again.keys
    start = first.cameras.c2w[:, 0, 0, 3]
    assert start.unique().numel() > 1
    assert (first.cameras.c2w[:, :, 0, 3].diff() == 1).all()
    names = torch.tensor([40 * train_clips.index(path) for path in map(_paths(clips), first.keys)])
    brightness = first.color[:, :, 0].float().mean(dim=(1, 2, 3))
    # As far as the video's compression keeps them.
    assert (brightness - names - 2 * start).abs().max() < 4
    with pytest.raises(InputError, match="9 frames or more of"):
        FolderSource(replace(data, image_size=(16, 32)), train_clips, CPU, [1], 1).draw(0, 1, 0.0)


def _paths(root: Path):  # noqa: ANN202
    return lambda key: ClipPaths(root, Path(key).parts[-3], Path(key).stem)


def test_a_folder_trains(tmp_path: Path, clips: Path) -> None:
    """A task that renders worlds though it was given clips, or validates on none of them."""
    config = tiny(tmp_path / "run", f"data.root={clips}", "loop.max_steps=2")
    assert run(config) == 2
    assert "validation_psnr" in read_journal(tmp_path / "run")[-1]


def test_weights_of_other_widths_are_refused(tmp_path: Path) -> None:
    """A stack trace about shapes instead of the name of what differs."""
    config = tiny(tmp_path / "run", "loop.max_steps=2", "loop.validate_every=0")
    run(config)
    other = TokenizerTask(tiny(tmp_path / "other", "network.decoder=[8,8,8,16]"))
    with pytest.raises(InputError, match="decode_block_out_channels"):
        other.read_weights(tmp_path / "run" / "checkpoint-2")
    other = TokenizerTask(tiny(tmp_path / "other"))
    assert "quant_conv.weight" in other.read_weights(tmp_path / "run" / "checkpoint-2")


def test_settings_that_cannot_work_are_refused() -> None:
    """Negative weights, parts larger than the picture, shares beyond 1."""
    with pytest.raises(InputError):
        PoolConfig(early=-1)
    for wrong in (
        {"crop": (96, 400)},
        {"crop": (90, 160)},
        {"frames": 16},
        {"held_out": 65},
        {"pools": []},
        {"pools": [PoolConfig(late=0)]},
    ):
        with pytest.raises(InputError):
            TokenizerDataConfig(**wrong)
    for wrong in ({"still": 0.6, "paused": 0.6}, {"holes": 1.2}, {"brightness": (2, 1)}):
        with pytest.raises(InputError):
            TokenizerAugmentConfig(**wrong)


@pytest.mark.parametrize(
    "setting",
    [
        *("network.num_layers=0", "network.encoder=[8,0,8,8]"),
        *("network.latent_channels=1000000000", "network.decoder=[1,1,1,-1]"),
    ],
)
def test_impossible_sizes_are_refused_before_anything_is_built(setting: str) -> None:
    """A message from deep inside the network, or a network that is built without an end."""
    name = setting.partition("=")[0]
    with pytest.raises(InputError, match=rf"{name} \(command line\)"):
        load_train_config(TokenizerTrainConfig, [command_line_layer([setting])])


@pytest.mark.parametrize("name", ["configs/nano/training", "configs/training"])
def test_shipped_configurations_load(name: str) -> None:
    """A key of the files that is no setting, or a network beyond the budget."""
    layer = file_layer(f"{name}/tokenizer.yaml")
    assert layer.values["task"] == "tokenizer"
    config = load_train_config(TokenizerTrainConfig, [layer])
    task = TokenizerTask(config)
    if "nano" in name:
        parts = task._tokenizer().autoencoder.parameters()
        assert sum(part.numel() for part in parts) < 8.4e6


@pytest.mark.gpu
def test_the_compiled_step_has_the_same_loss(tmp_path: Path) -> None:
    """A compiled graph, or bfloat16, that computes something else."""
    # Checks of annotations cannot be compiled, so the step runs apart from the tests' hook.
    code = (
        "import sys, torch\n"
        "from src.config.loading import command_line_layer\n"
        "from src.config.loading import load_train_config\n"
        "from src.training.tokenizer.config import TokenizerTrainConfig\n"
        "from src.training.tokenizer.task import TokenizerTask\n"
        "from src.training.tokenizer.data import TokenizerBatch\n"
        "from src.training.task import Stopwatch\n"
        "config = load_train_config(TokenizerTrainConfig, [command_line_layer(sys.argv[1:])])\n"
        "objective = TokenizerTask(config).build(torch.device('cuda'), Stopwatch())\n"
        "video = torch.rand(2, 3, 9, 32, 32, device='cuda') * 2 - 1\n"
        "losses = []\n"
        "for full in (False, True):\n"
        "    with torch.autocast('cuda', torch.bfloat16):\n"
        "        loss = objective(TokenizerBatch(video, [], full))['loss']\n"
        "    objective.zero_grad()\n"
        "    loss.backward()\n"
        "    gradient = objective.network.encoder.conv_in.conv_s.weight.grad\n"
        "    losses.append((loss.item(), gradient.norm().item()))\n"
        "(a, b), (c, d) = losses\n"
        "assert abs(a / c - 1) < 0.02 and abs(b / d - 1) < 0.1, losses\n"
    )
    arguments = [*SETTINGS, "data.held_out=0", f"loop.output_dir={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
