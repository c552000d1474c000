"""One rule for the newest sound checkpoint: whoever goes on from a run takes the same one."""

from pathlib import Path

import pytest
import torch
from tiny_scene import DECODER

from src.checkpoints.steps import defect, newest_sound
from src.models.recon.decoder import LatentRecon, load_decoder, save_decoder
from src.reconstruct.inputs import WeightsConfig, find_decoder
from src.runtime import InputError
from src.training.checkpoints.files import (
    Checkpoint,
    choose_checkpoint,
    write_checkpoint,
    write_state,
)


def load_state(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_decoder(folder).state_dict())


def make_run(output_dir: Path) -> Path:
    model = LatentRecon(DECODER)
    for step in (5, 9, 10):
        checkpoint = Checkpoint(step=step, weights=dict(model.state_dict()))
        write_checkpoint(output_dir, checkpoint, lambda folder, _: save_decoder(model, folder))
    return output_dir


def sampled(output_dir: Path) -> Path:
    return find_decoder(WeightsConfig(output_dir=str(output_dir))).parent


@pytest.mark.parametrize("damage", ["none", "missing", "cut", "cut before the list was written"])
def test_sampling_and_training_choose_the_same_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """Catches a damaged newest checkpoint that stops one of them though the one before is good."""
    run = make_run(tmp_path)
    newest = run / "checkpoint-10"
    weights = newest / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage != "none":
        weights.write_bytes(weights.read_bytes()[:100])
    if damage == "cut before the list was written":
        (newest / "state.json").unlink()
        write_state(newest, 10, [10])
    expected = newest if damage == "none" else run / "checkpoint-9"
    chosen = choose_checkpoint(run, "latest", load_state)
    assert chosen is not None and sampled(run) == run / f"checkpoint-{chosen.step}" == expected
    assert ("checkpoint-10 cannot be used" in caplog.text) == (damage != "none")


def test_a_run_without_a_sound_checkpoint_names_them_all(tmp_path: Path) -> None:
    """Catches a message of the newest one alone, or a random decoder."""
    run = make_run(tmp_path)
    for folder in run.iterdir():
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"checkpoint-10: .*checkpoint-9: .*checkpoint-5: "):
        sampled(run)
    with pytest.raises(InputError, match=r"checkpoint-10: .*checkpoint-9: .*checkpoint-5: "):
        choose_checkpoint(run, "latest", load_state)


def test_a_checkpoint_that_is_asked_for_by_name_is_not_replaced(tmp_path: Path) -> None:
    """Catches an older one that is taken for the one that the user named."""
    run = make_run(tmp_path)
    (run / "checkpoint-10" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="checkpoint-10"):
        find_decoder(WeightsConfig(output_dir=str(run), name="checkpoint-10"))


def test_weights_alone_are_sound_and_the_rest_of_a_checkpoint_is_not(tmp_path: Path) -> None:
    """Catches copied weights that are refused, and a checkpoint without its list that passes."""
    save_decoder(LatentRecon(DECODER), tmp_path / "checkpoint-3")
    assert newest_sound(tmp_path) == tmp_path / "checkpoint-3"
    chosen = choose_checkpoint(tmp_path, "latest", load_state)
    assert chosen is not None and chosen.step == 3
    (tmp_path / "checkpoint-3" / "optimizer.pt").write_bytes(b"1")
    assert defect(tmp_path / "checkpoint-3") == "no state.json"
    assert newest_sound(tmp_path / "nothing") is None
