"""Optional packages of the exports."""

import importlib
import sys
from types import ModuleType

from ..runtime import InputError


def import_extra(package: str, extra: str) -> ModuleType:
    """Imports a package of an extra.

    Raises:
        InputError: it is not installed; the text has the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        command = f"{sys.executable} -m pip install 'open-lyra[{extra}]'"
        raise InputError(package, "no such package", f"the extra `{extra}`: {command}") from error
