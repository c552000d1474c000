"""The published keys of the decoder's training, and our settings for them.

In the published names a "view" is a frame, a "multi view" a trajectory.
"""

from collections.abc import Mapping
from typing import Any

from ..runtime import InputError
from .translation import Derived, Key, KeyTable, choice, to

NUM_VIEWS, NUM_INPUT_VIEWS, ATTENTION_EVERY = 130, 121, 8


def _data_sets(value: Any) -> list[dict[str, Any]]:
    """Returns published pairs of name and repeats as our records."""
    given = value if isinstance(value, list) else [value]
    pairs = [pair for pair in given if isinstance(pair, list) and len(pair) == 2]
    if len(pairs) < len(given):
        raise InputError("data_mode", value, "a list of [name, repeats]")
    return [{"name": name, "repeat": repeat} for name, repeat in pairs]


def _num_targets(seen: Mapping[str, Any]) -> int:
    """Returns the number of targets: the published "views" include the inputs."""
    counts = [seen.get("num_views", NUM_VIEWS), seen.get("num_input_views", NUM_INPUT_VIEWS)]
    if not all(isinstance(count, int) for count in counts):
        raise InputError("num_views, num_input_views", counts, "two integers")
    return counts[0] - counts[1]


def _attention_every(seen: Mapping[str, Any]) -> Any:
    """Returns the distance of the attention blocks among the Mamba blocks; 0 for none."""
    return seen.get("llrm_7m1t_index", ATTENTION_EVERY) if seen.get("llrm_7m1t", True) else 0


KEYS: dict[str, Key] = {
    # The run.
    "experiment_name": to("loop.name"),
    "output_dir": to("loop.output_dir"),
    "logging_dir": to("loop.logging_dir"),
    "log_with": to("loop.tracker"),
    "seed": to("loop.seed", "reading.seed"),
    "max_train_steps": to("loop.max_steps"),
    "job_stop_steps": to("loop.stop_after"),
    "checkpointing_steps": to("loop.checkpoint_every"),
    "permanent_checkpointing_steps": to("loop.keep_every"),
    "checkpoints_total_limit": to("loop.keep_last"),
    "resume_from_checkpoint": to("loop.resume"),
    "resume_from_checkpoint_dir": to("loop.resume_dir"),
    "resume_pretrained_model_ckpt": to("loop.initial_weights"),
    "num_workers": to("loop.workers"),
    "batch_size": to("loop.batch_size"),
    "use_ema": to("loop.ema"),
    "mixed_precision": to("loop.mixed_precision"),
    "allow_tf32": to("loop.allow_tf32"),
    # Optimisation.
    "gradient_accumulation_steps": to("optim.accumulation_steps"),
    "max_grad_norm": to("optim.max_grad_norm"),
    "learning_rate": to("optim.learning_rate"),
    "lr_warmup_steps": to("optim.warmup_steps"),
    "adam_beta1": to("optim.beta1"),
    "adam_beta2": to("optim.beta2"),
    "adam_weight_decay": to("optim.weight_decay"),
    "adam_epsilon": to("optim.epsilon"),
    # Loss.
    "lambda_lpips": to("loss.lpips"),
    "lpips_chunk_size": to("lpips_chunk"),
    "lambda_depth": to("loss.depth"),
    "lambda_opacity": to("loss.opacity"),
    # Data.
    "data_mode": Key(("data.sets",), _data_sets),
    "dataset_root": to("data.root"),
    "img_size": to("data.image_size"),
    "load_latents": to("reading.latents"),
    "use_depth": to("reading.depth"),
    "num_test_scenes": to("reading.num_test_scenes"),
    "num_input_views": to("sampling.num_input_frames"),
    "num_input_multi_views": to("sampling.max_trajectories"),
    "sample_num_input_multi_views": to("sampling.vary_trajectories"),
    "static_view_indices_sampling": to("sampling.trajectory_sampling"),
    "static_view_indices_fixed": to("sampling.fixed_trajectories"),
    "static_frame_sampling": to("sampling.frame_sampling"),
    "mirror_static": to("sampling.mirror"),
    "mirror_dynamic": to("sampling.mirror"),
    "select_target_views_input_dynamic": to("sampling.targets_from_inputs"),
    "target_index_subsample": to("sampling.target_stride"),
    "target_index_manual": to("sampling.target_frame"),
    "set_manual_time_idx": to("sampling.freeze_time"),
    # Model.
    "use_mamba": to("decoder.use_mamba"),
    "enc_depth": to("decoder.depth"),
    "enc_embed_dim": to("decoder.width"),
    "enc_num_heads": to("decoder.heads"),
    "mlp_ratio": to("decoder.mlp_ratio"),
    "patch_size": to("decoder.patch"),
    "num_latent_c": to("decoder.latent_channels"),
    "latent_time_compression": to("decoder.time_compression"),
    "use_time_embedding": to("decoder.use_time"),
    "gradient_checkpoint_transformer": to("decoder.checkpointing"),
    "compute_plucker_dtype": choice("decoder.precision", {"bfloat16": "parity", "float32": "fp32"}),
    "dnear": to("decoder.near"),
    "dfar": to("decoder.far"),
    "gaussian_scale_cap": to("decoder.scale_cap"),
    "pre_sigmoid_distance_shift": to("decoder.distance_shift"),
    "gaussians_prune_ratio": to("decoder.prune_ratio"),
    "vae_path": to("tokenizer"),
    # Rendering.
    "use_3dgut": choice("render.mode", {True: "3dgut", False: "ewa"}),
    "znear": to("render.near"),
    "zfar": to("render.far"),
    "deferred_bp": to("deferred"),
}

# Keys with one possible value: the published weights use no other variant.
FIXED: dict[str, Any] = {
    # Every `config.yaml` of ours names its task.
    "task": "decoder",
    "vae_backbone": "cosmos1",
    "patch_size_temporal": 1,
    "num_block_channels_reduce": None,
    "use_pos_embedding": False,
    "use_qk_norm": False,
    "use_rgb_decoder": False,
    "use_patch_embeddings_encoder": True,
    "use_cosmos_decoder": False,
    "transposed_conv_type": None,
    "latent_spat_compression": 8,
    "patch_size_out_factor": [1, 8, 8],
    "use_plucker": True,
    "plucker_embedding_vae": True,
    "plucker_embedding_vae_fuse_type": "concat",
    "relative_translation_scale": True,
    "fuse_multi_views": True,
    "process_multi_views": True,
    "sub_sample_gaussians_factor": None,
    "gaussians_predict_offset": False,
    "gaussians_random_ratio": 0.0,
    "output_dims": 12,
    "scale_lr": False,
    "lr_scheduler": "constant_with_warmup",
    "use_8bit_adam": False,
    "lambda_ssim": 0,
    "use_interp_target": False,
    "time_embedding": True,
    "time_embedding_dim": 3,
    "time_embedding_vae": True,
    "time_embedding_use_orig": True,
    "timesteps_eps": 0.0,
    "num_target_multi_views": None,
}

# Keys without effect in the published code, or on the computed result.
DEAD = """
autocast_cache_enabled compile_frozen_modules compute_plucker_cuda decoder_cosmos_kwargs
deepspeed_type find_unused_parameters gaussians_predict_offset_act
gaussians_predict_offset_range grad_norm_cap gradient_checkpoint_conv gradient_clip
gs_render_patch_size gs_view_chunk_size llrm_7m1t_index_residual local_rank lpips_img_size_min
lr_overwrite model_pipeline num_train_images pos_embedding_kwargs pretrained_model_name_or_path
resume save_multi_random_states set_transformer_dtype static_time sub_sample_gaussians
sub_sample_gaussians_temperature sub_sample_gaussians_type sub_sample_gaussians_type_tokens
subsample_data_train_val subsample_target transposed_conv_hidden_channels use_deepspeed
use_flex_attention use_fsdp use_gaussians_predict_offset workspace
"""

DERIVED = (
    Derived("sampling.num_targets", frozenset({"num_views", "num_input_views"}), _num_targets),
    Derived(
        "decoder.attention_every", frozenset({"llrm_7m1t", "llrm_7m1t_index"}), _attention_every
    ),
)

TRAINING = KeyTable(keys=KEYS, fixed=FIXED, dead=frozenset(DEAD.split()), derived=DERIVED)
