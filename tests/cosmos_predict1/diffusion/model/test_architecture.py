"""The generator's `config.json`: what it may say, and the sizes that weights can do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_predict1.diffusion.model.architecture import (
    TransformerConfig,
    read_config,
    write_config,
)
from src.runtime import InputError


def edited(folder: Path, config: TransformerConfig, **values: object) -> Path:
    """A folder whose `config.json` has other values; those named `gen3c__x` stand under `gen3c`."""
    write_config(config, folder)
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    for name, value in values.items():
        part, _, key = name.rpartition("__")
        (stored[part] if part else stored)[key] = value
    path.write_text(json.dumps(stored))
    return folder


def test_the_file_round_trips(tmp_path: Path, tiny_config: TransformerConfig) -> None:
    """Would catch a value that is not written, or comes back as a list in a tuple's place."""
    write_config(tiny_config, tmp_path)
    assert read_config(tmp_path) == tiny_config


def test_diffusers_reads_the_file(tmp_path: Path, tiny_config: TransformerConfig) -> None:
    """Would catch a size under a name that diffusers' class does not have."""
    from diffusers import CosmosTransformer3DModel

    write_config(tiny_config, tmp_path)
    loaded = CosmosTransformer3DModel.load_config(tmp_path)
    model = CosmosTransformer3DModel.from_config(loaded)
    for name, value in tiny_config.architecture.items():
        found = model.config[name]
        assert (list(found) if isinstance(found, tuple) else found) == value, name


def test_published_folders_have_the_published_sizes(tmp_path: Path) -> None:
    """Would catch weights without a configuration of ours that get anything but the defaults."""
    assert read_config(tmp_path) == TransformerConfig()
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    assert read_config(tmp_path) == TransformerConfig()
    assert TransformerConfig().width == 4096 and TransformerConfig().warp_channels == 64


def test_a_plain_diffusers_file_gets_the_other_defaults(
    tmp_path: Path, tiny_config: TransformerConfig
) -> None:
    """Would catch a folder of diffusers that is refused because our own keys are not there."""
    write_config(tiny_config, tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["gen3c"]
    # What diffusers writes beside the keys of its class, and the ones that are without effect.
    stored |= {"_diffusers_version": "0.42.1", "img_context_num_tokens": 256}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    default = TransformerConfig()
    expected = replace(
        tiny_config, rope_precision=default.rope_precision, sampling=default.sampling
    )
    assert read_config(tmp_path) == expected


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"num_layer": 3}, "num_layer"),
        ({"num_layers": "3"}, "num_layers"),
        ({"num_layers": 2.0}, "num_layers"),
        ({"num_layers": True}, "num_layers"),
        ({"num_layers": 0}, "num_layers"),
        ({"max_size": [4, 8]}, "max_size"),
        ({"attention_head_dim": 10}, "attention_head_dim"),
        ({"in_channels": 16}, "in_channels"),
        ({"patch_size": [1, 1, 1]}, "patch_size"),
        ({"extra_pos_embed_type": None}, "extra_pos_embed_type"),
        ({"sampling": {}}, "sampling"),
        ({"_class_name": "WanTransformer3DModel"}, "WanTransformer3DModel"),
        ({"gen3c": 3}, "gen3c"),
        ({"gen3c__rope_precision": "half"}, "rope_precision"),
        ({"gen3c__text_encoder": "clip"}, "text_encoder"),
        ({"gen3c__guidance": -1}, "guidance"),
        ({"gen3c__fps": 0}, "fps"),
        ({"gen3c__heigth": 64}, "heigth"),
        ({"gen3c__fps": float("inf")}, "fps"),
        ({"gen3c__fps": 1e9}, "fps"),
        ({"gen3c__guidance": float("nan")}, "guidance"),
        ({"gen3c__num_steps": 10**9}, "num_steps"),
        ({"gen3c__filter_points_threshold": 10**400}, "filter_points_threshold"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio"),
        ({"rope_scale": [1.0, float("nan"), 1.0]}, "rope_scale"),
        ({"max_size": [4, 10**9, 8]}, "max_size"),
        ({"num_layers": 10**6}, "num_layers"),
    ],
)
def test_wrong_values_are_named(
    tmp_path: Path, tiny_config: TransformerConfig, values: dict[str, object], named: str
) -> None:
    """Would catch a misspelt or mistyped value that is ignored, or taken as something else."""
    with pytest.raises(InputError, match=named):
        read_config(edited(tmp_path, tiny_config, **values))


def test_malformed_json_is_named(tmp_path: Path) -> None:
    """Would catch a broken file that is taken for a published folder."""
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json"):
        read_config(tmp_path)


def test_sizes_that_the_weights_can_do(tiny_config: TransformerConfig) -> None:
    """Would catch a limit that is off by one, or a size that splits a token."""
    published = TransformerConfig()
    published.check_size(121, 704, 1280)
    published.check_size(1017, 1920, 1920)
    tiny_config.check_size(25, 64, 96)
    for name, size in {
        "height": (25, 72, 96),
        "width": (25, 64, 112),
        "number of frames": (33, 64, 96),
        "got 24": (24, 64, 96),
        "got 0": (25, 0, 96),
    }.items():
        with pytest.raises(InputError, match=name):
            tiny_config.check_size(*size)
