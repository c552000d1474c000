"""The shipped training configurations, and the published keys."""

from pathlib import Path

import pytest
from config_leaves import leaves

from src.config.loading import REPOSITORY, Layer, file_layer, load_train_config
from src.config.published import TRAINING
from src.config.translation import Translator
from src.runtime import InputError
from src.training.decoder.config import DecoderTrainConfig

FOLDER = REPOSITORY / "configs/training"
DEFAULT = FOLDER / "default.yaml"
# Files of other tasks name them.
STAGES = sorted(
    path
    for path in FOLDER.glob("*.yaml")
    if path != DEFAULT and "task" not in file_layer(path).values
)
# Published stage files: image, inputs, targets, trajectories, batch, latents, last step.
PUBLISHED = {
    "176_320_views_17": ((176, 320), 17, 17, 1, 4, False, 10_000),
    "176_320_views_49": ((176, 320), 49, 49, 1, 4, False, 12_500),
    "352_640_views_49": ((352, 640), 49, 49, 1, 2, False, 15_000),
    "704_1280_views_49": ((704, 1280), 49, 49, 1, 1, False, 17_500),
    "704_1280_views_121": ((704, 1280), 121, 9, 1, 1, True, 75_000),
    "704_1280_views_121_multi_6": ((704, 1280), 121, 9, 6, 1, True, 82_000),
    "704_1280_views_121_multi_6_prune": ((704, 1280), 121, 9, 6, 1, True, 83_000),
    "704_1280_views_121_multi_6_dynamic": ((704, 1280), 121, 12, 6, 1, True, 90_000),
    "704_1280_views_121_multi_6_dynamic_prune": ((704, 1280), 121, 12, 6, 1, True, 91_000),
}
# A published `default.yaml` has these too, which have no effect or one possible value here.
PUBLISHED_DEFAULT = {
    "workspace": "x",
    "grad_norm_cap": 5000,
    "use_deepspeed": True,
    "vae_backbone": "cosmos1",
    "patch_size_out_factor": [1, 8, 8],
    "plucker_embedding_vae": True,
    "compute_plucker_dtype": "bfloat16",
    "llrm_7m1t": True,
    "data_mode": [["lyra_static", 1]],
    "num_views": 130,
    "num_input_views": 121,
    "mlp_ratio": 4,
    "sub_sample_gaussians_factor": None,
    "gaussians_random_ratio": 0.0,
    "lambda_ssim": 0,
}


def load(*values: dict) -> DecoderTrainConfig:
    return load_train_config(DecoderTrainConfig, [Layer("test", part) for part in values])


def stage(suffix: str) -> DecoderTrainConfig:
    files = [DEFAULT, FOLDER / f"3dgs_res_{suffix}.yaml"]
    return load_train_config(DecoderTrainConfig, [file_layer(path) for path in files])


def test_the_default_file_says_what_the_dataclasses_say() -> None:
    """A default that was changed in one of the two places."""
    assert load_train_config(DecoderTrainConfig, [file_layer(DEFAULT)]) == DecoderTrainConfig()


def test_the_default_file_names_every_setting() -> None:
    """A new field of a dataclass that a reader of the file does not learn of."""
    named = set()
    own = {name.split(".")[0] for name, _ in leaves(DecoderTrainConfig())}
    translator = Translator(TRAINING, sorted(own))
    for _, nested in translator.translate("default", file_layer(DEFAULT).values):
        named |= set(paths(nested))
    assert {name for name, _ in leaves(DecoderTrainConfig())} <= named


def paths(nested: dict, prefix: str = "") -> list[str]:
    found = []
    for name, value in nested.items():
        inner = paths(value, f"{prefix}{name}.") if isinstance(value, dict) else []
        found += inner or [f"{prefix}{name}"]
    return found


def test_all_nine_stages_are_there() -> None:
    """A stage file that is missing, misnamed or left over."""
    assert [path.stem.removeprefix("3dgs_res_") for path in STAGES] == sorted(PUBLISHED)


@pytest.mark.parametrize("suffix", PUBLISHED)
def test_stages_have_the_published_settings(suffix: str) -> None:
    """A wrong number in a stage file."""
    config = stage(suffix)
    found = (
        tuple(config.data.image_size),
        config.sampling.num_input_frames,
        config.sampling.num_targets,
        config.sampling.max_trajectories,
        config.loop.batch_size,
        config.reading.latents,
        config.loop.max_steps,
    )
    assert found == PUBLISHED[suffix]
    dynamic, pruned = "dynamic" in suffix, "prune" in suffix
    assert config.decoder.use_time == dynamic
    assert [part.name for part in config.data.sets] == [
        "lyra_dynamic" if dynamic else "lyra_static"
    ]
    assert config.sampling.targets_from_inputs != dynamic
    assert (config.decoder.prune_ratio, config.loss.opacity) == ((0.8, 0.1) if pruned else (0, 0))
    assert config.loop.output_dir.endswith(f"3dgs_res_{suffix}")


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_stage_files_hold_only_what_differs(path: Path) -> None:
    """A line of a stage file that repeats the default, and goes stale when that changes."""
    default = file_layer(DEFAULT).values
    for name, value in file_layer(path).values.items():
        assert name in default and value != default[name], f"{path.name}: {name}"


def test_a_published_default_file_loads(caplog: pytest.LogCaptureFixture) -> None:
    """Published keys that are refused, or whose arithmetic is not the published one."""
    config = load(PUBLISHED_DEFAULT)
    assert "grad_norm_cap, use_deepspeed, workspace" in caplog.text
    assert config.decoder.precision == "parity"
    assert config.decoder.attention_every == 8
    assert config.sampling.num_targets == 9


def test_every_block_may_be_mamba() -> None:
    """`llrm_7m1t: false` that leaves attention in its place."""
    assert load({"llrm_7m1t_index": 8, "llrm_7m1t": False}).decoder.attention_every == 0


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"use_cosmos_decoder": True}, "use_cosmos_decoder"),
        ({"gaussians_random_ratio": 0.1}, "gaussians_random_ratio"),
        ({"data_mode": [["lyra_static"]]}, "data_mode"),
        ({"data_mode": [3]}, "data_mode"),
        ({"data_mode": 3}, "data_mode"),
        ({"data_mode": []}, "data.sets"),
        ({"img_size": [704, 1281]}, "image_size"),
        ({"img_size": [704]}, "img_size"),
        ({"num_views": "many"}, "num_views"),
        ({"num_views": 121}, "num_targets"),
        ({"gaussians_prune_ratio": 1.0}, "prune_ratio"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"gradient_accumulation_steps": 0}, "accumulation_steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"enc_dept": 3}, "did you mean 'enc_depth'"),
        ({"decoder": {"dept": 3}}, "Did you mean: 'depth'"),
    ],
)
def test_bad_values_are_named(values: dict, part: str) -> None:
    """A variant that does not exist here or a senseless number, found out hours later."""
    with pytest.raises((InputError, ValueError), match=part):
        load(values)


def test_weights_of_the_repository_are_found_from_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train.sh` from another folder, which took a tokenizer of random weights for nano's."""
    monkeypatch.chdir(tmp_path)
    layers = [file_layer(DEFAULT), file_layer("configs/nano/training/default.yaml")]
    assert load_train_config(DecoderTrainConfig, layers).tokenizer == str(
        REPOSITORY / "assets/nano/tokenizer"
    )
    own = tmp_path / "assets/nano/tokenizer"
    own.mkdir(parents=True)
    assert load_train_config(DecoderTrainConfig, layers).tokenizer == "assets/nano/tokenizer"
