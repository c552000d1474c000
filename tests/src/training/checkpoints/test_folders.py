"""Checkpoint folders: whole or not there, rotated, handed over; nothing is lost by an accident."""

import json
from pathlib import Path

import pytest

from src.checkpoints.steps import PUBLISHED, defect, list_checkpoints, read_state
from src.runtime import InputError
from src.training.checkpoints.files import (
    STAGE,
    first_step,
    hand_over,
    new_folder,
    remove_old,
    write_state,
)


def make(output_dir: Path, step: int) -> Path:
    with new_folder(output_dir, step) as folder:
        (folder / "data.bin").write_bytes(bytes(step))
        write_state(folder, step, [step])
    return output_dir / f"checkpoint-{step}"


def names(output_dir: Path) -> set[str]:
    return {path.name for path in output_dir.iterdir()}


def test_a_folder_that_is_interrupted_leaves_nothing_with_its_name(tmp_path: Path) -> None:
    """A half written checkpoint that a later run takes for one; leftovers that pile up."""
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path, 7) as folder:
        (folder / "data.bin").write_bytes(b"1")
        raise KeyboardInterrupt
    assert list_checkpoints(tmp_path) == []
    make(tmp_path, 8)
    assert names(tmp_path) == {"checkpoint-8"}


@pytest.mark.parametrize("size", [0, 5, 8])
def test_a_file_of_another_size_is_a_defect(tmp_path: Path, size: int) -> None:
    """A truncated file that goes unnoticed."""
    folder = make(tmp_path, 6)
    assert defect(folder) is None
    (folder / "data.bin").write_bytes(bytes(size))
    assert "data.bin" in str(defect(folder))
    (folder / "data.bin").unlink()
    assert "missing" in str(defect(folder))
    (folder / "state.json").write_text('{"step": 6}')
    assert "state.json" in str(defect(folder))


@pytest.mark.parametrize("name", ["data.bin", "state.json"])
def test_a_single_flipped_bit_is_a_defect(tmp_path: Path, name: str) -> None:
    """Weights, random states or a position that change in silence: no format notices."""
    path = make(tmp_path, 6) / name
    content = bytearray(path.read_bytes())
    # In the state the last digit of the step or of a position.
    at = content.index(b"6") if name == "state.json" else 3
    content[at] ^= 1
    path.write_bytes(content)
    assert defect(tmp_path / "checkpoint-6") is None
    assert f"{name} is damaged" in str(defect(tmp_path / "checkpoint-6", digests=True))
    make(tmp_path / "stages", 5)
    (tmp_path / "checkpoint-6").rename(tmp_path / "stages" / "checkpoint-6")
    assert hand_over(tmp_path / "stages", tmp_path / "next") == tmp_path / "next" / "checkpoint-5"


def test_a_checkpoint_without_digests_is_still_read(tmp_path: Path) -> None:
    """Runs that began before there were digests, and can't go on."""
    path = make(tmp_path, 6) / "state.json"
    state = json.loads(path.read_text())
    del state["sha256"], state["state_sha256"]
    path.write_text(json.dumps(state))
    assert defect(tmp_path / "checkpoint-6", digests=True) is None


def test_the_newest_and_the_permanent_ones_are_kept(tmp_path: Path) -> None:
    """A rotation that removes permanent or damaged ones, or counts them."""
    for step in (10, 20, 30, 40, 50, 60, 70):
        make(tmp_path, step)
    (tmp_path / "checkpoint-20" / "data.bin").write_bytes(b"")
    removed = remove_old(tmp_path, keep_last=2, keep_every=30, newest=70)
    assert [path.name for path in removed] == ["checkpoint-10", "checkpoint-40"]
    kept = {f"checkpoint-{step}" for step in (20, 30, 50, 60, 70)}
    assert names(tmp_path) == kept
    assert remove_old(tmp_path, keep_last=2, keep_every=30, newest=70) == []


def test_later_checkpoints_of_another_run_do_not_cost_fresh_ones(tmp_path: Path) -> None:
    """A rotation by number, which deletes what was just written and keeps the old ones."""
    for step in (30, 40, 1, 2, 3):
        make(tmp_path, step)
    removed = remove_old(tmp_path, keep_last=2, keep_every=0, newest=3)
    assert [path.name for path in removed] == ["checkpoint-1"]
    assert names(tmp_path) == {f"checkpoint-{step}" for step in (2, 3, 30, 40)}


def test_files_that_no_training_wrote_are_never_deleted(tmp_path: Path) -> None:
    """A rotation, or a new checkpoint of the same step, that deletes notes or published weights."""
    for step in (1, 2, 3):
        make(tmp_path, step)
    (tmp_path / "checkpoint-1" / "renders").mkdir()
    (tmp_path / "checkpoint-1" / "renders" / "notes.txt").write_text("mine")
    published = tmp_path / "checkpoint-2" / PUBLISHED
    (tmp_path / "checkpoint-2" / "state.json").unlink()
    published.parent.mkdir()
    published.write_text("theirs")
    assert remove_old(tmp_path, keep_last=1, keep_every=0, newest=3) == []
    make(tmp_path, 1)
    assert (tmp_path / "kept-checkpoint-1" / "renders" / "notes.txt").read_text() == "mine"
    (tmp_path / ".checkpoint-notes.partial").mkdir()
    make(tmp_path, 4)
    assert (tmp_path / ".checkpoint-notes.partial").is_dir()


def test_a_damaged_folder_makes_room_without_being_lost(tmp_path: Path) -> None:
    """A checkpoint that is deleted because it could not be read."""
    for content in (b"first", b"second"):
        (make(tmp_path, 4) / "data.bin").write_bytes(content)
    make(tmp_path, 4)
    assert defect(tmp_path / "checkpoint-4") is None
    assert (tmp_path / "damaged-checkpoint-4" / "data.bin").read_bytes() == b"first"
    assert (tmp_path / "damaged-checkpoint-4-2" / "data.bin").read_bytes() == b"second"


def test_a_sound_folder_is_replaced(tmp_path: Path) -> None:
    """Copies that pile up when steps are made again."""
    make(tmp_path, 4)
    make(tmp_path, 4)
    assert names(tmp_path) == {"checkpoint-4"}


def test_the_newest_sound_checkpoint_is_handed_over_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stage that starts from a damaged or an early checkpoint, or starts over."""
    source, stage = tmp_path / "source", tmp_path / "stage"
    for step in (9, 10, 100):
        make(source, step)
    (source / "checkpoint-100" / "data.bin").unlink()
    assert first_step(stage) == 0
    assert hand_over(source, stage) == stage / "checkpoint-10"
    assert "checkpoint-100" in caplog.text
    assert first_step(stage) == 10
    assert (stage / "checkpoint-10" / "data.bin").read_bytes() == bytes(10)
    make(source, 11)
    assert hand_over(source, stage) is None
    assert [path.name for path in list_checkpoints(stage)] == ["checkpoint-10"]


@pytest.mark.parametrize("value", ["1e400", "NaN", "-1", "true", '"7"', "2.5", "1" + "0" * 300])
def test_odd_numbers_of_a_stage_and_a_state_are_named(tmp_path: Path, value: str) -> None:
    """A damaged number that ends in a traceback, or in a training without end."""
    (tmp_path / STAGE).write_text(f'{{"source": "a", "first_step": {value}}}')
    with pytest.raises(InputError, match="first_step"):
        first_step(tmp_path)
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    for name in ("step", "positions"):
        number = value if name == "step" else f"[{value}]"
        state = {"step": "1", "positions": "[0]", "files": "{}", name: number}
        content = ", ".join(f'"{key}": {part}' for key, part in state.items())
        (folder / "state.json").write_text(f"{{{content}}}")
        with pytest.raises(InputError, match=f"no valid {name}"):
            read_state(folder)


def test_a_source_without_a_sound_checkpoint_is_an_error(tmp_path: Path) -> None:
    """An empty stage that passes for a finished one."""
    (tmp_path / "source" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(InputError, match="no complete checkpoint"):
        hand_over(tmp_path / "source", tmp_path / "stage")
    assert not (tmp_path / "stage").exists()
