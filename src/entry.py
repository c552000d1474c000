"""The start and the end of every command: its manual, its exit code, one line if it failed.

It imports nothing heavy, so that `--help` answers at once.
"""

import argparse
import atexit
import gc
import sys
from collections.abc import Callable
from typing import NoReturn


def run_entry(main: Callable[[], int | None], name: str, stopped: str = "stopped") -> NoReturn:
    """Run a command and leave the process with its exit code.

    Args:
        main: Reads the arguments and does the work; returns the exit code (None: 0).
        name: Name of the command, which opens the line.
        stopped: What the line says after Ctrl-C.

    The exit code is 1 after an `InputError`, whose text is the line, and 130 after Ctrl-C. Any
    other error is a fault of the program and keeps its traceback.
    """
    # Python looks for garbage when it ends: with torch most of a second, for memory that goes back
    # to the system anyway.
    atexit.register(gc.freeze)
    try:
        code = main()
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: {stopped}\n")
        sys.exit(130)
    except ValueError as error:
        from .runtime import InputError

        if not isinstance(error, InputError):
            raise
        sys.exit(f"{name}: {error}")
    sys.exit(code)


def manual_parser(manual: str | None) -> argparse.ArgumentParser:
    """A parser whose `--help` shows the manual, a command's docstring, line by line."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=manual, formatter_class=formatter)
