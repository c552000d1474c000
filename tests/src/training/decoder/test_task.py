"""The decoder's task on tiny clips: inputs and targets of all kinds of stages, weights, errors."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_scene import FRAMES, HEIGHT, WIDTH, TinyInput, write_tiny_input
from tiny_training import checkpoint_names, losses, training_config

from src.config.loading import file_layer, load_train_config
from src.evaluation.metrics import BACKBONE_FILE, LINEAR_FILE, LPIPS
from src.models.data.example import Example
from src.models.recon.decoder import load_decoder
from src.runtime import InputError
from src.training.checkpoints.files import export_checkpoint
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.task import DecoderObjective, DecoderTask
from src.training.loop.journal import NonFiniteStep
from src.training.loop.run import train
from src.training.task import Share, Stopwatch

Built = tuple[DecoderObjective, list[Example]]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("static"), scenes=3)


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    tiny = write_tiny_input(tmp_path_factory.mktemp("dynamic"), dynamic=True)
    for number in range(6, 12):
        (tiny.root / str(number)).symlink_to(str(number % 3))
    return tiny


@pytest.fixture
def build(static: TinyInput) -> Callable[[DecoderTrainConfig], Built]:
    def build(config: DecoderTrainConfig) -> Built:
        task = DecoderTask(config)
        objective = task.build(CPU, Stopwatch())
        # At this size the Gaussians of a new decoder are too small to be seen.
        objective.network.load_state_dict(
            load_decoder(static.checkpoint, config.decoder).state_dict()
        )
        return objective, next(iter(task.batches(Share(), lambda: 0.0)))

    return build


@pytest.mark.parametrize(
    "settings",
    [
        ("load_latents=false", "num_input_views=9", "num_input_multi_views=1"),
        ("load_latents=true",),
        ("gaussians_prune_ratio=0.8", "lambda_opacity=0.1"),
        ("deferred_bp=false",),
    ],
)
def test_static_stages_give_every_used_parameter_a_gradient(
    static: TinyInput, build: Callable[..., Built], tmp_path: Path, settings: tuple[str, ...]
) -> None:
    """A part of the decoder that the loss does not reach; time embeddings that it does."""
    objective, batch = build(training_config(static, tmp_path, *settings, "batch_size=2"))
    terms = objective(batch)
    terms["loss"].backward()
    for name, parameter in objective.network.named_parameters():
        unused = "time_embed" in name
        assert (parameter.grad is None) == unused, name
        assert unused or parameter.grad.abs().sum() > 0, name
    expected = terms["mse"] + 0.05 * terms["loss_depth"] + 0.1 * terms["loss_opacity"]
    torch.testing.assert_close(terms["loss"], expected)


def test_dynamic_stages_train_the_time_embeddings_on_flipped_targets(
    dynamic: TinyInput, build: Callable[..., Built], tmp_path: Path
) -> None:
    """A dynamic stage that forgets the time, or looks at its input trajectories only."""
    settings = ("select_target_views_input_dynamic=false", f"num_views={FRAMES + 12}")
    objective, batch = build(training_config(dynamic, tmp_path, *settings))
    (example,) = batch
    assert sorted(example.targets.names, key=int) == [str(number) for number in range(12)]
    assert set(example.targets.frame.tolist()) == {example.target_frame}
    objective(batch)["loss"].backward()
    for part in (objective.network.patch_time_embed, objective.network.patch_time_embed_tgt):
        gradient = part.proj.weight.grad
        assert gradient is not None and gradient.abs().sum() > 0


def test_a_batch_is_the_mean_of_its_scenes(
    static: TinyInput, build: Callable[..., Built], tmp_path: Path
) -> None:
    """Scenes of a batch that see each other's latents, rays or targets."""
    objective, batch = build(training_config(static, tmp_path, "batch_size=3"))
    together = objective(batch)
    alone = [objective([example]) for example in batch]
    for name in ("loss", "mse", "loss_depth"):
        mean = torch.stack([terms[name] for terms in alone]).mean()
        torch.testing.assert_close(together[name], mean, rtol=1e-5, atol=1e-6)


def test_deferred_rendering_has_the_same_gradients(
    static: TinyInput, build: Callable[..., Built], tmp_path: Path
) -> None:
    """A renderer that is exchanged by the setting, and with it the training."""
    gradients = []
    for deferred in ("true", "false"):
        objective, batch = build(training_config(static, tmp_path, f"deferred_bp={deferred}"))
        objective(batch)["loss"].backward()
        gradients.append(objective.network.deconv.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_lpips_without_its_weights_stops_before_anything_is_made(
    static: TinyInput, tmp_path: Path
) -> None:
    """A published stage that trains another loss, or a hint that does not help."""
    settings = ("lambda_lpips=0.5", f"checkpoint_dir={tmp_path}/none", "max_train_steps=1")
    config = training_config(static, tmp_path / "run", *settings)
    words = "lambda_lpips=0.5 without lpips/vgg16-397923af.pth, lpips/vgg.pth.*--what lpips"
    with pytest.raises(InputError, match=words) as caught:
        train(DecoderTask(config), config.loop, config.optim)
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    hint = "lambda_lpips=0"
    assert f"{hint} to train without" in str(caught.value)
    config = training_config(static, tmp_path / "run", *settings, hint)
    assert train(DecoderTask(config), config.loop, config.optim) == 1


def test_the_published_stages_want_lpips_and_those_of_nano_do_not() -> None:
    """A stage whose loss depends on which files lie about."""
    default = file_layer("configs/training/default.yaml")
    nano = file_layer("configs/nano/training/default.yaml")
    for path in sorted(Path("configs/training").glob("3dgs_*.yaml")):
        stage = load_train_config(DecoderTrainConfig, [default, file_layer(path)])
        assert stage.loss.lpips == 0.5, path
        own = file_layer(Path("configs/nano/training") / path.name)
        assert load_train_config(DecoderTrainConfig, [default, nano, own]).loss.lpips == 0, path


def test_lpips_goes_frame_by_frame(
    static: TinyInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that are dropped, reordered or not averaged over all frames."""
    from src.training.decoder import task as decoder

    torch.manual_seed(0)
    network = LPIPS().requires_grad_(False).eval()
    for name in (BACKBONE_FILE, LINEAR_FILE):
        (tmp_path / "lpips" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "lpips" / name).touch()
    monkeypatch.setattr(decoder, "load_lpips", lambda folder, device: network)
    frames = torch.rand(2, 5, 3, 32, 32)
    settings = ("lambda_lpips=0.5", "lpips_chunk_size=2", f"checkpoint_dir={tmp_path}")
    perceptual = decoder._perceptual(training_config(static, tmp_path, *settings), CPU)
    assert perceptual is not None
    ours = frames[0].requires_grad_()
    torch.testing.assert_close(perceptual(ours, frames[1]), network(ours, frames[1]))


def test_training_validates_and_can_be_sampled_from(static: TinyInput, tmp_path: Path) -> None:
    """Held-out scenes that are trained on, no pictures, weights that `sample.py` can't read."""
    config = training_config(static, tmp_path / "run", "max_train_steps=4", "loop.validate_every=2")
    config = replace(config, loop=replace(config.loop, checkpoint_every=2))
    assert train(DecoderTask(config), config.loop, config.optim, "settings") == 4
    assert len(losses(tmp_path / "run")) == 4
    assert (tmp_path / "run" / "validation" / "step-000004.png").is_file()
    trained = load_decoder(tmp_path / "run" / "checkpoint-4")
    assert trained.config.width == 32
    task = DecoderTask(config)
    task.build(CPU, Stopwatch())
    assert task._data is not None and task._data[1] is not None
    keys = [set(data.keys) for data in task._data if data is not None]
    assert len(keys[1]) == 1 and not keys[0] & keys[1]


def test_bfloat16_changes_the_loss_little(static: TinyInput, tmp_path: Path) -> None:
    """Rays, rendering or the loss in bfloat16, and types that do not meet."""
    found = []
    for precision in ("no", "bf16"):
        weights = f"resume_pretrained_model_ckpt={static.checkpoint}"
        settings = (f"mixed_precision='{precision}'", "max_train_steps=2", weights)
        config = training_config(static, tmp_path / precision, *settings)
        train(DecoderTask(config), config.loop, config.optim)
        found.append(losses(tmp_path / precision))
        AcceleratorState._reset_state(reset_partial_state=True)
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], rel=2e-2)


def test_pictures_come_with_depth_whatever_the_loss(
    static: TinyInput, build: Callable[..., Built], tmp_path: Path
) -> None:
    """Validation pictures whose depth is empty when the loss does without it."""
    objective, batch = build(training_config(static, tmp_path, "lambda_depth=0"))
    shown = objective(batch, pictures=True)
    assert shown["color"].shape == (1, len(batch[0].targets), 3, HEIGHT, WIDTH)
    assert shown["depth"].max() > 0


def test_exported_and_published_checkpoints_are_read_as_weights(
    static: TinyInput, tmp_path: Path
) -> None:
    """A layout with other names or types than the published one, or that is not handed over."""
    config = training_config(static, tmp_path / "run", "max_train_steps=2")
    train(DecoderTask(config), config.loop, config.optim)
    folder, task = tmp_path / "run" / "checkpoint-2", DecoderTask(config)
    path = export_checkpoint(folder, tmp_path / "published", task.read_weights)
    assert path == tmp_path / "published/checkpoint-2/pytorch_model/mp_rank_00_model_states.pt"
    module = torch.load(path, weights_only=True)["module"]
    ours = task.read_weights(folder)
    assert module.keys() == ours.keys()
    assert all(torch.equal(module[name], ours[name].bfloat16()) for name in ours)
    stage = training_config(
        static,
        tmp_path / "stage",
        f"resume_from_checkpoint_dir={tmp_path / 'published'}",
        "loop.stage_steps=1",
    )
    assert train(DecoderTask(stage), stage.loop, stage.optim) == 3
    assert checkpoint_names(tmp_path / "stage") == ["checkpoint-2", "checkpoint-3"]


def test_initial_weights_are_those_of_step_0(static: TinyInput, tmp_path: Path) -> None:
    """A setting that is accepted and forgotten."""
    settings = (f"resume_pretrained_model_ckpt={static.checkpoint}", "learning_rate=1e-30")
    config = training_config(static, tmp_path / "run", *settings, "max_train_steps=1")
    train(DecoderTask(config), config.loop, config.optim)
    given = load_decoder(static.checkpoint, config.decoder).state_dict()
    for name, value in load_decoder(tmp_path / "run" / "checkpoint-1").state_dict().items():
        torch.testing.assert_close(value, given[name])


def test_a_bad_scene_is_named_when_its_loss_is_not_a_number(
    static: TinyInput, tmp_path: Path
) -> None:
    """A stop that leaves the user to look for the scene."""
    config = training_config(static, tmp_path / "run", "num_test_scenes=0")
    task = DecoderTask(config)
    build = task.build

    def spoiled(device: torch.device, clock: Stopwatch) -> DecoderObjective:
        objective = build(device, clock)
        torch.nn.init.constant_(objective.network.deconv.weight, torch.nan)
        return objective

    task.build = spoiled
    with pytest.raises(NonFiniteStep, match="scene_"):
        train(task, config.loop, config.optim)
    (record,) = (tmp_path / "run" / "failed").iterdir()
    (key,) = json.loads(record.read_text())["keys"]
    assert key.startswith("scene_") and "trajectories" in key


def test_no_scenes_are_an_error(static: TinyInput, tmp_path: Path) -> None:
    """A training that waits for ever, or divides by zero, on an empty folder."""
    (tmp_path / "empty" / "0" / "rgb").mkdir(parents=True)
    config = training_config(static, tmp_path / "run", f"dataset_root={tmp_path / 'empty'}")
    with pytest.raises(InputError, match="empty"):
        train(DecoderTask(config), config.loop, config.optim)


def test_other_errors_of_a_user_name_what_is_wrong(static: TinyInput, tmp_path: Path) -> None:
    """Missing depth, no tokenizer, two kinds of data sets, a static scene for a dynamic decoder."""
    cases = {
        "vae_path=nowhere": "vae_path",
        "use_depth=false": "lambda_depth",
        "data_mode=[[lyra_static,1],[lyra_dynamic,1]]": "of one kind",
        "use_time_embedding=true": "target time",
    }
    for setting, named in cases.items():
        config = training_config(static, tmp_path / named.replace(" ", "_"), setting)
        with pytest.raises(InputError, match=named):
            train(DecoderTask(config), config.loop, config.optim)


def test_the_size_of_the_pictures_is_that_of_the_settings(
    static: TinyInput, build: Callable[..., Built], tmp_path: Path
) -> None:
    """Stages that read all pictures at the size on disk."""
    settings = ("load_latents=false", "num_input_multi_views=1", "img_size=[16,32]")
    _, (example,) = build(training_config(static, tmp_path, *settings))
    assert example.video is not None
    assert example.video.shape == (1, 3, FRAMES, 16, 32) and (HEIGHT, WIDTH) == (32, 48)


def test_several_data_sets_are_mixed_and_resumed(static: TinyInput, tmp_path: Path) -> None:
    """Sets of which only one is read, repeats that are ignored, a resumed run with other scenes."""
    other = tmp_path / "other"
    shutil.copytree(static.root, other)
    for path in [*other.rglob("*")]:
        if path.is_file():
            path.rename(path.with_name(path.name.replace("scene_", "other_")))
    sets = f"data.sets=[{{name: lyra_static, repeat: 2}}, {{name: lyra_static, root: {other}}}]"
    settings = (sets, "num_test_scenes=1", "batch_size=3")
    task = DecoderTask(training_config(static, tmp_path / "run", *settings))
    task.build(CPU, Stopwatch())
    # Two scenes of each train: six draws an epoch, four of them of the set that is repeated.
    batches = islice(task.batches(Share(), lambda: 0.0), 2)
    keys = Counter(example.key.split("_")[0] for batch in batches for example in batch)
    assert keys == {"scene": 4, "other": 2}
    whole, pieces = (
        training_config(static, tmp_path / name, sets, "num_test_scenes=0", "max_train_steps=4")
        for name in ("whole", "pieces")
    )
    train(DecoderTask(whole), whole.loop, whole.optim)
    train(DecoderTask(pieces), replace(pieces.loop, stop_after=2), pieces.optim)
    train(DecoderTask(pieces), pieces.loop, pieces.optim)
    assert losses(tmp_path / "pieces") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 4


def test_kept_rays_leave_no_trace_in_a_resumed_run(static: TinyInput, tmp_path: Path) -> None:
    """Latents that differ with what was encoded beside or before them; a cache of no use."""
    weights = f"resume_pretrained_model_ckpt={static.checkpoint}"
    settings = (weights, "batch_size=3", "num_test_scenes=0", "max_train_steps=4")
    runs = {"kept": 2.0, "small": 2e-6, "none": 0.0}
    for name, room in runs.items():
        given = (*settings, f"pluecker_cache_gib={room}")
        config = training_config(static, tmp_path / name, *given)
        if name == "small":
            train(DecoderTask(config), replace(config.loop, stop_after=2), config.optim)
        train(DecoderTask(config), config.loop, config.optim)
    found = [losses(tmp_path / name) for name in runs]
    assert len(found[0]) == 4 and found[0] == found[1]
    assert found[0] == pytest.approx(found[2], rel=1e-4)
    with pytest.raises(InputError, match="pluecker_cache_gib"):
        training_config(static, tmp_path, "pluecker_cache_gib=-1")


def test_a_set_without_scenes_is_an_error_beside_others(static: TinyInput, tmp_path: Path) -> None:
    """A mixture that silently goes on with the sets that have scenes; no repeats at all."""
    (tmp_path / "empty" / "0" / "rgb").mkdir(parents=True)
    for part, named in ((f"root: {tmp_path / 'empty'}", "empty"), ("repeat: 0", "repeat.*got 0")):
        sets = f"data.sets=[{{name: lyra_static}}, {{name: lyra_static, {part}}}]"
        with pytest.raises(InputError, match=named):
            config = training_config(static, tmp_path / "run", sets)
            train(DecoderTask(config), config.loop, config.optim)
