"""The configuration of `sample.py`: scenes, weights, outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ..models.data.reading import ReadingConfig
from ..models.data.sampling import ExampleSamplingConfig
from ..models.recon.scene_decoder import TypeName
from ..reconstruct.config import OutputConfig, ReconstructConfig
from ..reconstruct.inputs import ScenesConfig, WeightsConfig
from ..rendering.rasterize import Backend
from ..runtime import InputError
from ..training.decoder.config import DecoderTrainConfig
from .loading import command_line_layer, file_layer, find_path, load_config, load_train_config
from .published import TRAINING
from .translation import KEEP, Key, KeyTable, Translator, choice, to


@dataclass(kw_only=True)
class TimesConfig:
    """The frames at whose time dynamic scenes are reconstructed.

    Either `frames`, or a range of `number` frames from `start` in steps of `stride`. With `freeze`
    the cameras of all frames are rendered at each of these times.
    """

    frames: int | list[int] | None = None
    start: int | None = None
    number: int = 1
    stride: int = 1
    freeze: bool = False

    def values(self) -> list[int] | None:
        """Returns all times; None for the first frame, without a folder of its own."""
        if self.frames is not None:
            return [self.frames] if isinstance(self.frames, int) else list(self.frames)
        if self.start is None:
            return None
        if self.number < 1 or self.stride < 1:
            raise InputError("times", f"{self.number} by {self.stride}", "at least 1 by 1")
        return list(range(self.start, self.start + self.number * self.stride, self.stride))


@dataclass(kw_only=True)
class SampleConfig:
    """The settings of `sample.py`; the defaults are those of `configs/inference/default.yaml`.

    Attributes:
        config_path: Training configuration of the model: a file, or several to be merged.
        model: Keys on top of it.
        dataset: Name in the registry; None for the (first) data set of the training.
        dataset_root: Folder of clips instead of the registered one.
        trajectories: The inputs, in this order; None as in the model's configuration.
        target_stride: Distance of the rendered frames.
        num_scenes: Number of scenes, from the first; None for all.
        depth: Read depth maps, to show them.
        skip_unreadable: Leave out scenes that cannot be read.
        checkpoint: The decoder's weights; None for a checkpoint of the training run.
        checkpoint_name: Checkpoint of the run; None for the last.
        average: Use the moving average of the weights if the checkpoint has one.
        tokenizer: Folder of the tokenizer; None for that of the model's configuration.
        pluecker_cache_gb: Size of the cache of encoded Pluecker maps, in 1e9 bytes.
        processes_per_scene: Processes of a launch that share the decoder's attention.
    """

    config_path: str | list[str] = "outputs/training/cosmos3dgs/config.yaml"
    model: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = "lyra_static_demo"
    dataset_root: str | None = None
    trajectories: list[str] | None = None
    target_stride: int = 1
    times: TimesConfig = field(default_factory=TimesConfig)
    num_scenes: int | None = None
    depth: bool = False
    skip_unreadable: bool = False
    checkpoint: str | None = None
    checkpoint_name: str | None = None
    average: bool = True
    tokenizer: str | None = None
    output: OutputConfig = field(default_factory=OutputConfig)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rasterizer: Backend = "auto"
    trunk_type: TypeName = "auto"
    tokenizer_type: TypeName = "auto"
    pluecker_cache_gb: float = 2.0
    processes_per_scene: int = 1


def _listed(value: Any) -> Any:
    """Returns one name as a list of it."""
    return [value] if isinstance(value, str) else value


KEYS: dict[str, Key] = {
    "dataset_name": to("dataset"),
    "ckpt_path": to("checkpoint"),
    "ckpt_name": to("checkpoint_name"),
    "vae_path": to("tokenizer"),
    "static_view_indices_fixed": to("trajectories"),
    "target_index_subsample": to("target_stride"),
    "target_index_manual": to("times.frames"),
    "target_index_manual_start_idx": to("times.start"),
    "target_index_manual_num_idx": to("times.number"),
    "target_index_manual_stride": to("times.stride"),
    "set_manual_time_idx": choice("times.freeze", {True: True, False: False, None: False}),
    "num_test_images": to("num_scenes"),
    "use_depth": to("depth"),
    "out_dir_inference": to("output.folder"),
    "out_fps": to("output.fps"),
    # The published "no" remakes every scene.
    "skip_existing": choice("output.finished", {True: KEEP, False: "remake", None: KEEP}),
    "overwrite": choice("output.finished", {True: "replace", False: KEEP, None: KEEP}),
    "do_eval": to("output.eval_only"),
    "export_formats": Key(("output.export_formats",), _listed),
    "save_grid": to("output.grid"),
    "num_grid_samples": to("output.grid_scenes"),
    "save_gt_input": to("output.reference"),
    "save_gt_depth": to("output.reference_depth"),
    "save_video_input": to("output.input_video"),
    "save_rgb_decoding": to("output.decode_latents"),
    "save_gaussians": to("output.tensor"),
    # Published files leave it empty, which meant "no"; a scene without its PLY is of little use.
    "save_gaussians_orig": choice("output.ply", {True: True, False: False, None: KEEP}),
}
TABLE = KeyTable(KEYS, elsewhere={name: f"model.{name}" for name in TRAINING.names - {*KEYS}})


def load_sample_config(default: str, config: str, arguments: Sequence[str]) -> ReconstructConfig:
    """Reads the files `default` and `config`, then `key=value` arguments."""
    typed = command_line_layer(arguments)
    sample = load_config(SampleConfig, [file_layer(default), file_layer(config), typed], TABLE)
    paths = [sample.config_path] if isinstance(sample.config_path, str) else sample.config_path
    own = typed.below("model", f"{config}: model", sample.model)
    model = [*(file_layer(path) for path in paths), own]
    return compose(sample, load_train_config(DecoderTrainConfig, model))


def compose(sample: SampleConfig, model: DecoderTrainConfig) -> ReconstructConfig:
    """Returns the settings of a run, from the user's and those of the model's training."""
    scenes = ScenesConfig(
        dataset=sample.dataset or model.data.sets[0].name,
        root=sample.dataset_root or (None if sample.dataset else model.data.root),
        image_size=model.data.image_size,
        sampling=_sampling(sample, model.sampling),
        reading=_reading(sample, model.reading),
        times=sample.times.values(),
    )
    weights = WeightsConfig(
        path=str(find_path(sample.checkpoint)) if sample.checkpoint else None,
        name=sample.checkpoint_name,
        average=sample.average,
        chosen=_chosen(sample.model),
        output_dir=str(find_path(model.loop.output_dir)),
        tokenizer=str(find_path(sample.tokenizer or model.tokenizer)),
        trunk_type=sample.trunk_type,
        tokenizer_type=sample.tokenizer_type,
    )
    return ReconstructConfig(
        decoder=replace(model.decoder, checkpointing=False),
        render=model.render,
        rasterizer=sample.rasterizer,
        weights=weights,
        scenes=scenes,
        output=sample.output,
        device=sample.device,
        pluecker_cache_gb=sample.pluecker_cache_gb,
        processes_per_scene=sample.processes_per_scene,
    )


def _chosen(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the decoder's settings among the user's `model` keys."""
    translator = Translator(TRAINING, [field.name for field in fields(DecoderTrainConfig)])
    parts = [nested.get("decoder", {}) for _, nested in translator.translate("model", model)]
    return tuple(sorted({name for part in parts for name in part}))


def _sampling(sample: SampleConfig, sampling: ExampleSamplingConfig) -> ExampleSamplingConfig:
    """Returns the model's trajectories and frames, with the user's choice on top."""
    sampling = replace(
        sampling,
        target_stride=sample.target_stride,
        freeze_time=sample.times.freeze,
        target_frame=None,
    )
    if sample.trajectories is None:
        return sampling
    fixed = sample.trajectories
    return replace(sampling, trajectory_sampling="fixed", fixed_trajectories=fixed)


def _reading(sample: SampleConfig, reading: ReadingConfig) -> ReadingConfig:
    """Returns the inputs that the outputs need."""
    output = sample.output
    compared = (output.reference or output.metrics) and not output.eval_only
    return replace(
        reading,
        color=compared and not output.decode_latents,
        depth=sample.depth and output.reference_depth and not output.eval_only,
        skip_unreadable=sample.skip_unreadable,
        num_test_scenes=sample.num_scenes,
    )
