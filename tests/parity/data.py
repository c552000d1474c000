"""Parity of the decoder's data: items read from disk, and the rules of random draws."""

from collections import ChainMap
from pathlib import Path

import torch
from torch import Tensor

from src.models.data.dataset import ClipDataset
from src.models.data.example import Example, unit_color
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DatasetSpec
from src.tokenizer.latents import time_vector
from src.tokenizer.loading import load_statistics

from .fixture import Config, Fixture
from .index_facts import index_facts, sampling_config


def dataset(fixture: Fixture) -> dict[str, Tensor]:
    """The test items of a small data set on disk, under the published names."""
    config, outputs = fixture.config, {}
    # The size of the stored videos.
    config.describes("video_size")
    config.require(
        relative_translation_scale=True,
        time_embedding_dim=3,
        time_embedding_use_orig=True,
        is_multi_view=True,
    )
    statistics = load_statistics(fixture.path / config["vae_path"])
    for name, case in config["cases"].items():
        ours = ClipDataset(
            dataset_spec(fixture.path, config),
            sampling_config(ChainMap(case, config)),
            tuple(config["img_size"]),
            mode=config["mode"],
            statistics=statistics,
            reading=ReadingConfig(latents=config["load_latents"], depth=config["use_depth"]),
        )
        example = ours[case["item"]]
        item = published_item(example)
        number = len(example.targets)
        case.require(scene_key=example.key, num_output_views=number, dataset_length=len(ours))
        outputs |= {f"{name}/{key}": tensor for key, tensor in item.items()}
    return outputs


def dataset_spec(folder: Path, config: Config) -> DatasetSpec:
    """The data set out of the published keys."""
    is_static = config["is_static"]

    def between(first: str, last: str) -> tuple[str, ...]:
        if config.get(last) is None:
            config.require(**{first: 0})
            return ()
        return tuple(map(str, range(config[first], config[last] + 1)))

    return DatasetSpec(
        folder / config["dataset_root"],
        is_static,
        latents_normalised=config["is_generated_cosmos_latent"],
        source_trajectories=between("start_view_idx", "end_view_idx") or None,
        target_trajectories=between("start_view_target_idx", "end_view_target_idx"),
        buckets=tuple(map(tuple, config["sampling_buckets"])),
        scene_scale=config["scene_scale"],
    )


def published_item(example: Example) -> dict[str, Tensor]:
    """An example as the published loader returns it, all trajectories one after another."""
    targets = example.targets
    assert example.latents is not None and targets.color is not None
    frames = targets.frame.unflatten(0, (len(targets.trajectory.unique()), -1))[0]
    # Static models see no target time; the published loader has that of frame 0 for them.
    target_time = 0.0 if example.target_time is None else example.target_time
    item = {
        "images_output": unit_color(targets.color),
        "intrinsics": targets.cameras.intrinsics,
        "cam_view": targets.cameras.w2c.mT,
        "rgb_latents": example.latents.transpose(1, 2).flatten(0, 1),
        "c2ws_input": example.cameras.c2w.flatten(0, 1),
        "intrinsics_input": example.cameras.intrinsics.flatten(0, 1),
        "time_embeddings": time_vector(example.source_times),
        "time_embeddings_target": time_vector(torch.tensor([target_time])),
        "target_frames": frames,
    }
    if targets.depth is not None:
        item["depths_output"] = targets.depth[:, None]
    if example.target_frame is not None:
        item["target_index"] = torch.full_like(frames, example.target_frame)
    return item


KINDS = {"recon_dataset": dataset, "recon_indices": index_facts}
