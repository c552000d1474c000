"""Run a Python file as if some packages were not installed.

`python tests/block_imports.py torch,gsplat FILE [ARGUMENT ...]`
"""

import runpy
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


class Blocker(MetaPathFinder):
    """Refuses to find the packages of `names`, and everything in them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"import of {fullname} is blocked", name=fullname)


if __name__ == "__main__":
    names, file, *arguments = sys.argv[1:]
    loaded = sorted(set(names.split(",")) & set(sys.modules))
    if loaded:
        sys.exit(f"already imported when the interpreter started: {loaded}")
    sys.meta_path.insert(0, Blocker(names.split(",")))
    sys.argv = [file, *arguments]
    sys.path[0] = str(Path(file).resolve().parent)
    runpy.run_path(file, run_name="__main__")
