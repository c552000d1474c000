"""The two commands take every published flag, and what they take becomes one configuration."""

import re

import pytest

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings
from cosmos_predict1.diffusion.config import (
    SamplingConfig,
    clip_settings,
    sdg_config,
    with_weights,
)
from cosmos_predict1.diffusion.flags import (
    dynamic_parser,
    static_parser,
)
from cosmos_predict1.diffusion.hardware_flags import IGNORED_SWITCHES, IGNORED_VALUES
from cosmos_predict1.diffusion.model.architecture import (
    SamplingDefaults,
    TransformerConfig,
    read_config,
)
from src.checkpoints import NANO_ASSETS
from src.runtime import InputError

SHARED = [
    "checkpoint_dir",
    "tokenizer_dir",
    "video_save_name",
    "video_save_folder",
    "prompt",
    "batch_input_path",
    "negative_prompt",
    "num_steps",
    "guidance",
    "num_video_frames",
    "height",
    "width",
    "fps",
    "seed",
    "num_gpus",
    "offload_diffusion_transformer",
    "offload_tokenizer",
    "offload_text_encoder_model",
    "offload_prompt_upsampler",
    "offload_guardrail_models",
    "disable_prompt_upsampler",
    "disable_guardrail",
    "disable_prompt_encoder",
    "prompt_upsampler_dir",
    "trajectory",
    "camera_rotation",
    "movement_distance",
    "save_buffer",
    "filter_points_threshold",
    "foreground_masking",
    "multi_trajectory",
    "camera_gen_kwargs",
    "total_movement_distance_factor",
    "input_image_path",
]
PUBLISHED = {
    static_parser: [*SHARED, "noise_aug_strength"],
    dynamic_parser: [
        *SHARED,
        *("vipe_path", "vipe_starting_frame_idx", "center_depth_quantile", "flip_supervision"),
    ],
}
WIDE = TransformerConfig()


@pytest.mark.parametrize("make", [static_parser, dynamic_parser])
def test_every_published_flag_is_taken(make) -> None:
    """A published command line that fails here for an unknown flag."""
    offered = {action.dest for action in make("")._actions if action.option_strings}
    assert set(PUBLISHED[make]) <= offered


@pytest.mark.parametrize("make", [static_parser, dynamic_parser])
def test_idle_flags_say_so(make) -> None:
    """A flag without an effect whose help promises one."""
    text = re.sub(r"\s+", " ", make("").format_help())
    for flag in (*IGNORED_VALUES, *IGNORED_SWITCHES):
        assert re.search(re.escape(flag) + r"( [A-Z_]+)? no effect:", text), flag


def test_both_commands_end_in_the_same_configuration() -> None:
    """A flag that one parser has and the configuration expects of both."""
    still = sdg_config(static_parser("").parse_args(["--input_image_path", "a.png"]))
    moving = sdg_config(dynamic_parser("").parse_args(["--vipe_path", "a"]))
    assert (still.moving, moving.moving) == (False, True)
    assert still.sampling == moving.sampling == SamplingConfig()
    assert still.sampling.filter_points_threshold is None and not still.cache.foreground_masking
    assert (still.cameras.trajectory, still.cameras.distance) == ("left", 0.3)
    assert still.output.is_absolute()


def test_the_filter_is_that_of_the_weights_unless_asked_for() -> None:
    """A threshold of the weights that is ignored, or one that cannot be overruled."""
    defaults = SamplingDefaults(filter_points_threshold=0.2)
    network = TransformerConfig(sampling=defaults)
    for flags, expected in (([], 0.2), (["--filter_points_threshold", "0.1"], 0.1)):
        arguments = static_parser("").parse_args(["--input_image_path", "a.png", *flags])
        config = with_weights(sdg_config(arguments), network)
        assert config.cache == CacheSettings(
            threshold=expected, foreground_masking=False, drop_invalid=True
        )


def test_the_centre_depth_is_that_of_the_weights_unless_asked_for() -> None:
    """Published weights whose paths turn about another depth than the published ones."""
    for flags, small, full in (
        ([], True, False),
        (["--center_depth_quantile"], True, True),
        (["--no-center_depth_quantile"], False, False),
    ):
        config = sdg_config(dynamic_parser("").parse_args(["--vipe_path", "a", *flags]))
        nano = TransformerConfig(sampling=SamplingDefaults(center_depth_quantile=True))
        for network, expected in ((nano, small), (WIDE, full)):
            assert with_weights(config, network).inputs.center_depth_quantile is expected
    assert read_config(NANO_ASSETS / "generator").sampling.center_depth_quantile


def test_invalid_depth_can_be_what_it_was() -> None:
    """A deviation of the 3D cache without a way back."""
    line = ["--vipe_path", "a", "--published_invalid_depth"]
    config = sdg_config(dynamic_parser("").parse_args(line))
    assert not config.cache.drop_invalid and config.inputs.published_invalid_depth


def test_the_published_command_lines_parse() -> None:
    """The canonical invocations, letter by letter."""
    line = "--checkpoint_dir checkpoints --num_gpus 1 --input_image_path IMG.png"
    line += " --video_save_folder OUT --foreground_masking --multi_trajectory"
    config = sdg_config(
        static_parser("").parse_args([*line.split(), "--total_movement_distance_factor", "2.0"])
    )
    assert config.cameras.multi and config.cameras.factor == 2 and config.cache.foreground_masking
    line = "--checkpoint_dir checkpoints --vipe_path x/rgb/CLIP.mp4 --video_save_folder OUT"
    line += " --disable_prompt_upsampler --num_gpus 1 --foreground_masking --multi_trajectory"
    config = sdg_config(dynamic_parser("").parse_args([*line.split(), "--flip_supervision"]))
    assert config.cameras.flipped and config.inputs.vipe == "x/rgb/CLIP.mp4"
    assert config.inputs.center_depth_quantile is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num_gpus", "2"], "--num_gpus"),
        (["--flip_supervision"], "--multi_trajectory"),
        (["--trajectory_file", "a.json", "--multi_trajectory"], "--multi_trajectory"),
        (["--seed", "-1"], "--seed"),
        (["--num_steps", "0"], "--num_steps"),
        (["--fps", "nan"], "--fps"),
        (["--guidance", "-1"], "--guidance"),
        (["--vipe_starting_frame_idx", "-3"], "--vipe_starting_frame_idx"),
        (["--filter_points_threshold", "0"], "filter_points_threshold"),
        (["--total_movement_distance_factor", "0"], "--total_movement_distance_factor"),
        (["--compile", "--offload_diffusion_transformer"], "--compile"),
        (["--compile", "--precision", "fp8"], "--compile"),
        (["--device", "cpu", "--precision", "fp8"], "--precision"),
    ],
)
def test_contradictions_and_bad_values_are_refused(arguments: list[str], words: str) -> None:
    """A run that starts with nonsense and fails hours later, or not at all."""
    with pytest.raises(InputError, match=words):
        sdg_config(dynamic_parser("").parse_args(arguments))


def test_as_many_gpus_as_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published meaning of --num_gpus, which is the number of processes of torchrun."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    for accepted in ("1", "4"):
        sdg_config(static_parser("").parse_args(["--num_gpus", accepted]))
    with pytest.raises(InputError, match="--num_gpus: got 2"):
        sdg_config(static_parser("").parse_args(["--num_gpus", "2"]))


@pytest.mark.parametrize(
    "value",
    ["{", "[1]", '{"radius": 1}', '{"num_circles": "2"}', "[" * 100_000, "9" * 5000],
)
def test_a_malformed_spiral_is_refused(value: str) -> None:
    """A misspelt key of --camera_gen_kwargs that changes nothing."""
    with pytest.raises(SystemExit):
        static_parser("").parse_args(["--camera_gen_kwargs", value])


def test_settings_default_to_the_weights() -> None:
    """Published constants that override what the small weights were trained for."""
    defaults = SamplingDefaults(
        height=176,
        width=320,
        num_frames=17,
        fps=12.0,
        num_steps=6,
        guidance=0.5,
        text_encoder="none",
    )
    settings = clip_settings(SamplingConfig(), TransformerConfig(sampling=defaults), 16, False)
    assert (settings.height, settings.width, settings.num_frames) == (176, 320, 17)
    assert (settings.num_steps, settings.guidance, settings.fps) == (6, 0.5, 12.0)
    assert settings.piece_frames == 17 and settings.pieces == 1
    own = SamplingConfig(height=352, width=640, num_frames=9, fps=30.0, num_steps=3, guidance=0.0)
    settings = clip_settings(own, TransformerConfig(sampling=defaults), 16, False)
    assert (settings.height, settings.num_frames, settings.num_steps) == (352, 9, 3)
    assert (settings.guidance, settings.fps) == (0.0, 30.0)


def test_videos_keep_their_frame_rate() -> None:
    """24 frames per second put on every source video."""
    assert clip_settings(SamplingConfig(), WIDE, 16, True).fps is None
    assert clip_settings(SamplingConfig(fps=30), WIDE, 16, True).fps == 30


@pytest.mark.parametrize(("frames", "pieces"), [(9, 1), (121, 1), (49, 1), (241, 2), (601, 5)])
def test_frame_counts_that_the_weights_can_do(frames: int, pieces: int) -> None:
    """A count of pieces that is off by one."""
    settings = clip_settings(SamplingConfig(num_frames=frames), WIDE, 16, False)
    assert settings.pieces == pieces
    assert pieces * (settings.piece_frames - 1) + 1 == frames


@pytest.mark.parametrize("frames", [0, 1, 8, 10, 120, 122, 129, 240])
def test_other_frame_counts_are_refused(frames: int) -> None:
    """A count that the tokenizer cannot do, or that cannot be cut into pieces."""
    with pytest.raises(InputError, match="num_video_frames"):
        clip_settings(SamplingConfig(num_frames=frames), WIDE, 16, False)


@pytest.mark.parametrize("size", [(700, 1280), (704, 1288), (0, 1280), (704, 8000)])
def test_sizes_that_the_weights_cannot_do_are_refused(size: tuple[int, int]) -> None:
    """A size that fails in the network, after minutes of loading."""
    with pytest.raises(InputError, match="multiple of 16"):
        clip_settings(SamplingConfig(height=size[0], width=size[1]), WIDE, 16, False)


def test_statistics_must_cover_the_frames() -> None:
    """A tokenizer for shorter clips, noticed only when the first clip is encoded."""
    with pytest.raises(InputError, match="statistics"):
        clip_settings(SamplingConfig(), WIDE, 15, False)
