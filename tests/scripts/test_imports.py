"""What the project imports from itself, also where a function does so that no test runs."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import ast, importlib, importlib.util, sys
from pathlib import Path

root = Path(sys.argv[1])
homes = {name: root for name in ("src", "cosmos_predict1", "nano")}
homes |= {name: root / "scripts" for name in ("benchmarks", "quickstarts", "weights", "downloads")}
sys.path[:0] = [str(root), str(root / "scripts")]
files = {path: path.parent for path in (*root.glob("*.py"), *root.glob("scripts/*.py"))}
files |= {path: home for name, home in homes.items() for path in (home / name).rglob("*.py")}
checked = 0
for path, home in files.items():
    package = ".".join(path.parent.relative_to(home).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        relative = "." * node.level + (node.module or "")
        module = importlib.util.resolve_name(relative, package)
        if module.split(".")[0] not in homes:
            continue
        found = importlib.import_module(module)
        for alias in node.names:
            if not hasattr(found, alias.name):
                importlib.import_module(f"{module}.{alias.name}")
            checked += 1
print(checked)
"""


def test_every_name_is_where_it_is_imported_from() -> None:
    """A module that imports what was renamed, moved or joined with another."""
    command = [sys.executable, "-c", PROGRAM, str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 2000
