"""What a user gives wrongly stops a run, and is named."""

from pathlib import Path

import pytest
import torch
from tiny_scene import TinyInput, files_of, tiny_decoder

from src.reconstruct.run import reconstruct
from src.runtime import InputError


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("ckpt_path=nowhere.pt", ["nowhere.pt", "ckpt_path"]),
        ("ckpt_path=null", ["training", "no checkpoint"]),
        ("vae_path=nowhere", ["nowhere", "tokenizer"]),
        ("dataset_root=nowhere", ["nowhere"]),
        ("dataset_name=lyra_statik_demo", ["lyra_statik_demo", "did you mean"]),
        ("static_view_indices_fixed=['2','7']", ["'7'", "'0', '1', '2'"]),
        ("model.sampling.num_input_frames=17", ["9 frames", "at least 17"]),
        ("model.img_size=[32,64]", ["latents", "32x64"]),
        ("target_index_manual=9", ["[9]", "between 0 and 8"]),
        ("model.use_time_embedding=true", ["use_time", "dynamic data set"]),
        ("tokenizer_type=bfloat16", ["tokenizer_type", "float32 on the CPU"]),
        ("model.enc_depth=4", ["missing", "enc_blocks.3.norm.weight"]),
        ("model.enc_embed_dim=64", ["enc_blocks.0.norm.weight [32] instead of [64]"]),
    ],
)
def test_bad_settings_stop_the_run(
    static_input: TinyInput, tmp_path: Path, setting: str, parts: list[str]
) -> None:
    """A wrong setting that shows as wrong results, or as an error that names nothing."""
    with pytest.raises(InputError) as caught:
        reconstruct(static_input.configure(tmp_path, setting))
    for part in parts:
        assert part in str(caught.value)
    assert not [name for name in files_of(tmp_path) if "meta" in name]


@pytest.mark.parametrize(
    ("damage", "part"), [("drop", "missing"), ("rename", "enc_norm.weird"), ("add", "extra.weight")]
)
def test_checkpoints_that_do_not_fit_are_refused(
    broken_input: TinyInput, tmp_path: Path, damage: str, part: str
) -> None:
    """Weights that are left as they were initialised because their name is not known."""
    state = dict(tiny_decoder().state_dict())
    if damage in ("drop", "rename"):
        tensor = state.pop("enc_norm.weight")
    if damage == "rename":
        state["enc_norm.weird"] = tensor
    if damage == "add":
        state["extra.weight"] = torch.zeros(3)
    torch.save({"module": state}, broken_input.checkpoint)
    with pytest.raises(InputError) as caught:
        reconstruct(broken_input.configure(tmp_path / "out"))
    assert part in str(caught.value)
    assert "enc_norm.weight" in str(caught.value) or damage == "add"


def test_a_trajectory_without_one_of_the_clips_is_named(
    broken_input: TinyInput, tmp_path: Path
) -> None:
    """A missing clip in whose place another scene is shown."""
    (broken_input.root / "0/rgb/scene_1.mp4").unlink()
    with pytest.raises(InputError, match=r"0/rgb/scene_1\.mp4"):
        reconstruct(broken_input.configure(tmp_path / "out"))
    out = tmp_path / "skipped"
    reconstruct(broken_input.configure(out, "skip_unreadable=true"))
    assert files_of(broken_input.results(out) / "meta") == {"sample_0.json"}


def test_a_damaged_clip_stops_the_run_after_the_scenes_before_it(
    broken_input: TinyInput, tmp_path: Path
) -> None:
    """A damaged file that takes the finished scenes with it, or is passed over."""
    path = broken_input.root / "2/latent/scene_1.pkl"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"2/latent/scene_1\.pkl"):
        reconstruct(broken_input.configure(tmp_path / "out"))
    meta = broken_input.results(tmp_path / "out") / "meta"
    assert files_of(meta) == {"sample_0.json"}


def test_gaussians_that_are_not_finite_name_their_scene(
    broken_input: TinyInput, tmp_path: Path
) -> None:
    """A damaged number in the weights that ends in an assertion, or in an empty scene."""
    state = dict(tiny_decoder().state_dict())
    state["enc_norm.weight"] = (
        state["enc_norm.weight"].clone().index_fill_(0, torch.tensor([0]), float("nan"))
    )
    torch.save({"module": state}, broken_input.checkpoint)
    with pytest.raises(InputError, match=r"scene 'scene_0'.*not finite"):
        reconstruct(broken_input.configure(tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("sample_*.json"))
