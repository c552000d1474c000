"""The settings of `sample.py`: shipped files, published names, precedence."""

from dataclasses import replace
from pathlib import Path

import pytest
from config_leaves import leaves

from src.config.loading import REPOSITORY, Layer, file_layer, load_config
from src.config.sample import TABLE, SampleConfig, load_sample_config
from src.config.translation import Translator
from src.reconstruct.config import ReconstructConfig
from src.runtime import InputError

DEFAULT = "configs/inference/default.yaml"
ORDER = ["5", "0", "1", "2", "3", "4"]


def load(config: str, *arguments: str) -> ReconstructConfig:
    return load_sample_config(DEFAULT, config, arguments)


def tiny(tmp_path: Path, text: str = "") -> str:
    """A configuration of a run on the default model."""
    path = tmp_path / "run.yaml"
    path.write_text(f"config_path: configs/training/default.yaml\n{text}")
    return str(path)


def test_the_default_file_says_what_the_dataclass_says() -> None:
    """A default that was changed in one of the two places."""
    config = load_config(SampleConfig, [file_layer(DEFAULT)], TABLE)
    assert config == SampleConfig()


def test_the_default_file_names_every_setting() -> None:
    """A setting that a reader of the file does not learn of; `model` is for a user's keys."""
    own = {name.split(".")[0] for name, _ in leaves(SampleConfig())}
    translator = Translator(TABLE, sorted(own))
    named = set()
    for _, nested in translator.translate("default", file_layer(DEFAULT).values):
        for name, value in nested.items():
            named |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    # Left to `set_manual_time_idx` and the like, or shown by its published name.
    assert {name for name, _ in leaves(SampleConfig())} - named == {"model"}


def test_the_static_demo_is_the_published_one() -> None:
    """Another order of the trajectories (results depend on it), stride or model."""
    config = load("configs/demo/lyra_static.yaml")
    scenes = config.scenes
    assert scenes.dataset == "lyra_static_demo" and scenes.root is None
    assert scenes.sampling.fixed_trajectories == ORDER
    assert scenes.sampling.trajectory_sampling == "fixed"
    assert scenes.sampling.target_stride == 4 and scenes.sampling.num_input_frames == 121
    assert scenes.times is None
    assert config.decoder.prune_ratio == 0.8 and not config.decoder.use_time
    assert not config.decoder.checkpointing
    assert config.weights.path == "checkpoints/Lyra/lyra_static.pt"
    assert config.output.folder == "outputs/demo/lyra_static"
    assert config.output.ply and config.output.cameras and config.output.metrics
    assert not config.output.ply_padded


def test_the_dynamic_demo_is_the_published_one() -> None:
    """Times or the frozen time lost on the way from the file."""
    config = load("configs/demo/lyra_dynamic.yaml")
    assert config.scenes.times == [0, 60, 120]
    assert config.scenes.sampling.freeze_time and config.decoder.use_time
    assert config.scenes.dataset == "lyra_dynamic_demo"


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("configs/inference/3dgs*.yaml")))
def test_the_stage_files_load(path: Path, tmp_path: Path) -> None:
    """A stage whose inference file is misspelt or names another stage."""
    model = f"configs/training/{path.name}"
    assert file_layer(path).values["config_path"] == f"outputs/training/{path.stem}/config.yaml"
    config = load(str(path), f"config_path=[configs/training/default.yaml,{model}]")
    several = config.scenes.sampling.max_trajectories > 1
    assert config.scenes.sampling.fixed_trajectories == (ORDER if several else ["0"])
    assert (config.scenes.times is not None) == config.decoder.use_time
    assert config.output.folder == f"outputs/inference/{path.stem}"
    assert config.weights.output_dir == f"outputs/training/{path.stem}"


def test_every_stage_has_its_inference_file() -> None:
    """A stage that `inference.sh` cannot render."""
    names = [
        {path.name for path in REPOSITORY.glob(f"configs/{kind}/3dgs*.yaml")}
        for kind in ("training", "inference")
    ]
    assert names[0] == names[1] and len(names[0]) == 9


def test_arguments_win_over_files(tmp_path: Path) -> None:
    """The order of precedence, and published names on the command line."""
    config = load(
        tiny(tmp_path, "out_fps: 12\nstatic_view_indices_fixed: ['1']\n"),
        "out_fps=30",
        "static_view_indices_fixed=[5,0]",
        "num_test_images=3",
        "model.gaussians_prune_ratio=0.25",
        "model.decoder.precision=parity",
        "vae_path=/somewhere",
        "use_depth=true",
    )
    assert config.output.fps == 30
    assert config.scenes.sampling.fixed_trajectories == ["5", "0"]
    assert config.scenes.reading.num_test_scenes == 3 and config.scenes.reading.depth
    assert (config.decoder.prune_ratio, config.decoder.precision) == (0.25, "parity")
    assert config.weights.tokenizer == "/somewhere"
    assert config.weights.chosen == ("precision", "prune_ratio")


def test_the_nano_demo_is_what_nano_was_trained_as() -> None:
    """Sizes or ranges of another decoder, which sends Gaussians elsewhere."""
    decoder = load("configs/demo/nano_static.yaml").decoder
    assert (decoder.depth, decoder.width, decoder.heads, decoder.attention_every) == (6, 192, 3, 3)
    assert (decoder.far, decoder.distance_shift, decoder.prune_ratio) == (50.0, -3.6, 0.5)
    assert decoder == replace(load("configs/demo/nano_dynamic.yaml").decoder, use_time=False)


def test_all_scenes_are_sampled_unless_fewer_are_asked_for() -> None:
    """A folder of many pictures, of which only as many come out as a training holds back."""
    for demo in ("nano_static", "lyra_static"):
        assert load(f"configs/demo/{demo}.yaml").scenes.reading.num_test_scenes is None


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        (["target_index_manual=7"], [7]),
        (["target_index_manual=[3,1]"], [3, 1]),
        (["target_index_manual_start_idx=2"], [2]),
        (
            [
                "target_index_manual_start_idx=2",
                "target_index_manual_num_idx=3",
                "target_index_manual_stride=5",
            ],
            [2, 7, 12],
        ),
        ([], None),
    ],
)
def test_times_are_a_number_a_list_or_a_range(
    tmp_path: Path, arguments: list[str], times: list[int] | None
) -> None:
    """A range that counts its end instead of its length, or a single time taken for none."""
    assert load(tiny(tmp_path), *arguments).scenes.times == times


def test_pictures_are_read_only_where_they_are_shown(tmp_path: Path) -> None:
    """Hundreds of frames decoded for nothing."""
    assert load(tiny(tmp_path)).scenes.reading.color
    quiet = load(tiny(tmp_path), "save_gt_input=false", "output.metrics=false")
    assert not quiet.scenes.reading.color
    assert not load(tiny(tmp_path), "do_eval=true").scenes.reading.color
    assert not load(tiny(tmp_path), "save_rgb_decoding=true").scenes.reading.color
    assert not load(tiny(tmp_path)).scenes.reading.depth


def test_an_empty_published_ply_key_means_the_default(tmp_path: Path) -> None:
    """A published file without a value for it that turns off the one result everybody wants."""
    assert load(tiny(tmp_path, "save_gaussians_orig:\n")).output.ply
    assert not load(tiny(tmp_path), "save_gaussians_orig=false").output.ply


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("skip_exsting=true", "did you mean 'skip_existing'"),
        ("gaussians_prune_ratio=0.5", "model.gaussians_prune_ratio"),
        ("num_views=3", "model.num_views"),
        ("model.enc_dept=3", "enc_depth"),
        ("out_fps=fast", "out_fps"),
        ("out_fps=0", "fps"),
        ("num_grid_samples=0", "grid_scenes"),
        ("device=tpu", "device"),
        ("target_index_manual=121", "between 0 and 120"),
        ("target_index_manual=[0,-1]", "between 0 and 120"),
        ("target_index_manual=[]", "at least one"),
        ("target_index_manual=noon", "target_index_manual"),
        ("target_index_subsample=0", "target_stride"),
        ("config_path=nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, argument: str, part: str) -> None:
    """A misspelt key or a senseless value that is accepted, or an error that names neither."""
    with pytest.raises(InputError) as caught:
        load(tiny(tmp_path), argument)
    assert part in str(caught.value)


def test_own_and_published_layers_can_be_mixed() -> None:
    """Our own nested keys, refused beside published ones."""
    layers = [Layer("a", {"out_fps": 10}), Layer("b", {"output": {"fps": 20, "grid": True}})]
    config = load_config(SampleConfig, layers, TABLE)
    assert config.output.fps == 20 and config.output.grid
