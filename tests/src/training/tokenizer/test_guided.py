"""The guided start of the tokenizer's training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.config.loading import command_line_layer, load_train_config
from src.runtime import InputError
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.task import Share, Stopwatch
from src.training.tokenizer.config import TokenizerTrainConfig
from src.training.tokenizer.data import TokenizerBatch
from src.training.tokenizer.guided import GuidedStartConfig
from src.training.tokenizer.task import TokenizerTask

CPU = torch.device("cpu")
SETTINGS = (
    "network.encoder=[8,8,8,8]",
    "network.decoder=[8,8,8,8]",
    "network.num_layers=1",
    "data.frames=9",
    "data.image_size=[32,32]",
    "data.crop=[16,16]",
    "data.full_frame_batch=1",
    "data.held_out=0",
    "data.statistics_clips=2",
    "data.supersample=1",
    "data.pools=[{worlds: 2, palette: vivid}]",
    "loop.batch_size=2",
    "loop.checkpoint_every=2",
    "loop.validate_every=0",
    "loop.max_steps=4",
    "guided.enabled=true",
    "guided.clips=2",
)


def guided(out: Path, *settings: str) -> TokenizerTrainConfig:
    layers = [command_line_layer([*SETTINGS, f"loop.output_dir={out}", *settings])]
    config = load_train_config(TokenizerTrainConfig, layers)
    return replace(config, loop=replace(config.loop, mixed_precision="no"))


def run(config: TokenizerTrainConfig) -> int:
    return train(TokenizerTask(config), config.loop, config.optim)


def test_the_weight_falls_to_0_over_its_share() -> None:
    """Guidance to the end, or none; one that is on though nobody asked for it."""
    config = GuidedStartConfig(enabled=True, share=0.4)
    weights = [config.weight(progress) for progress in (0, 0.1, 0.2, 0.4, 1)]
    assert weights == pytest.approx([1, 0.75, 0.5, 0, 0])
    assert GuidedStartConfig().weight(0.0) == 0
    assert GuidedStartConfig(enabled=True, share=0).weight(0.0) == 0


def test_a_run_in_pieces_is_the_run_in_one(tmp_path: Path) -> None:
    """A guidance, bands or code that start anew on resuming."""
    whole = guided(tmp_path / "whole", "guided.share=1.0")
    assert run(whole) == 4
    pieces = guided(tmp_path / "pieces", "guided.share=1.0", "loop.stop_after=2")
    assert [run(pieces), run(pieces)] == [2, 4]
    for part in ("encoder", "decoder"):
        one, other = (
            load_file(tmp_path / name / "checkpoint-4" / f"{part}.safetensors")
            for name in ("whole", "pieces")
        )
        assert all(torch.equal(one[name], other[name]) for name in one)
    figures = [read_journal(tmp_path / name) for name in ("whole", "pieces")]
    told = [[entry["guidance"] for entry in journal] for journal in figures]
    assert told[0] == told[1] and len(told[0]) == 4


def test_the_weight_is_that_of_the_progress_of_the_run(tmp_path: Path) -> None:
    """A guidance that begins at its full weight in every job of a run."""
    config = guided(tmp_path, "guided.share=0.5")
    task = TokenizerTask(config)
    task.build(CPU, Stopwatch())
    told = iter([0.0, 0.25, 0.5])
    batches = iter(task.batches(Share(), lambda: next(told)))
    assert [next(batches).guidance for _ in range(3)] == [1, 0.5, 0]


def test_guidance_is_in_the_loss_with_its_weight_and_not_in_a_validation(tmp_path: Path) -> None:
    """A term that is forgotten, that is always there, or that has no gradient."""
    objective = TokenizerTask(guided(tmp_path)).build(CPU, Stopwatch())
    video = torch.rand(2, 3, 9, 16, 16) * 2 - 1
    plain, led = (objective(TokenizerBatch(video, [], guidance=weight)) for weight in (0.0, 0.5))
    torch.testing.assert_close(led["loss"], plain["loss"] + 0.5 * plain["guidance"])
    with torch.no_grad():
        assert "guidance" not in objective(TokenizerBatch(video, [], guidance=0.5))
    led["loss"].backward()
    assert objective.network.get_parameter("quant_conv.weight").grad is not None


def test_settings_that_would_guide_anew_are_refused(tmp_path: Path) -> None:
    """A run that is guided again whenever it goes on, or trained weights that are led away."""
    with pytest.raises(InputError, match="total_minutes"):
        guided(tmp_path, "loop.max_minutes=5")
    guided(tmp_path, "loop.max_minutes=5", "loop.total_minutes=8")
    with pytest.raises(InputError, match="initial_weights"):
        guided(tmp_path, "loop.initial_weights=somewhere")
    for wrong in ({"share": 1.5}, {"clips": 0}):
        with pytest.raises(InputError):
            GuidedStartConfig(**wrong)


def curve(config: TokenizerTrainConfig) -> list[float]:
    """The PSNR in dB of training batches, by steps."""
    run(config)
    return [entry["psnr"] for entry in read_journal(Path(config.loop.output_dir))]


@pytest.mark.slow
def test_a_guided_start_learns_without_a_plateau(tmp_path: Path) -> None:
    """A start that is no better than the ordinary one, or that stands still at first."""
    settings = (
        "network.encoder=[48,64,64,64]",
        "network.decoder=[48,64,64,64]",
        "data.frames=1",
        "data.image_size=[64,96]",
        "data.crop=[64,96]",
        "data.full_frame_share=0.0",
        "data.pools=[{worlds: 4}]",
        "guided.clips=4",
        "guided.share=0.8",
        "augment={color_early: 0, color_late: 0, mirrored: 0, still: 0, paused: 0}",
        *(f"augment.{name}=0" for name in ("pluecker", "masks", "holes", "times")),
        "loss={l1: 0.2, l2: 6.0, chroma: 0.5}",
        "optim.learning_rate=1e-3",
        "optim.warmup_steps=20",
        "loop.max_steps=200",
        "loop.report_every=20",
        "loop.checkpoint_every=1000",
        "loop.batch_size=4",
    )
    ordinary = curve(guided(tmp_path / "ordinary", *settings, "guided.enabled=false"))
    led = curve(guided(tmp_path / "led", *settings))
    assert all(one > other + 0.8 for one, other in zip(led, ordinary, strict=True))
    assert led[-1] > ordinary[-1] + 1.5
    # Every forty steps of the first hundred gain; single batches differ too much for less.
    assert all(later > earlier + 0.8 for earlier, later in zip(led[:4], led[2:6], strict=True))
