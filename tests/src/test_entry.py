"""Tests of how commands end."""

import pytest

from src.entry import run_entry
from src.runtime import InputError


def _interrupted() -> None:
    raise KeyboardInterrupt


def _refused() -> None:
    raise InputError("scene.ply", "3 columns", "14")


def _faulty() -> None:
    raise ValueError("a fault of the program")


@pytest.mark.parametrize(("code", "left"), [(None, None), (0, 0), (2, 2)])
def test_the_code_of_the_command_is_that_of_the_process(code: int | None, left: int | None) -> None:
    """A command that found faults must not end with 0."""
    with pytest.raises(SystemExit) as ended:
        run_entry(lambda: code, "view.py")
    assert ended.value.code == left


def test_wrong_input_is_one_line() -> None:
    """A user would read a traceback instead of what is wrong with the file."""
    with pytest.raises(SystemExit) as ended:
        run_entry(_refused, "view.py")
    assert ended.value.code == "view.py: scene.ply: got 3 columns, expected 14"


def test_ctrl_c_is_130_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell's loop would go on after Ctrl-C, or the user would read a traceback."""
    with pytest.raises(SystemExit) as ended:
        run_entry(_interrupted, "view.py", "stopped; the same command goes on")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "view.py: stopped; the same command goes on\n"


def test_faults_of_the_program_keep_their_traceback() -> None:
    """A plain ValueError, hidden as bad input, could not be found."""
    with pytest.raises(ValueError, match="a fault of the program"):
        run_entry(_faulty, "view.py")
