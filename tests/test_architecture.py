"""Who may import what: optional packages in their one place, lazily, and nothing upwards."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from vulture import Vulture

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = ("nano", "cosmos_predict1", "src")
# Found nowhere when the modules are imported: each is imported inside the function that needs it.
LAZY = (
    "accelerate,av,diffusers,fla,fourdgs,gaussforge,gsplat,moge,OpenEXR,peft,plyfile,tensorboard,"
    "transformers"
)
# Package -> the only modules (with what is below them) that may import it, lazily or not.
IMPORTERS = {
    "accelerate": (
        "src.training.loop",
        "src.reconstruct",
    ),
    "cosmos_predict1": ("cosmos_predict1", "nano"),
    "nano": ("nano",),
    "cosmos_predict1.diffusion.inference": (),
    "diffusers": ("cosmos_predict1",),
    "fla": (),
    "gsplat": ("src.rendering.rasterize",),
    "imageio": (),
    "omegaconf": ("src.config", "cosmos_predict1.diffusion.config"),
    "sample": (),
    "scripts": (),
    "skimage": (),
    "tests": (),
    "torchvision": (),
    "train": (),
    "transformers": (
        "cosmos_predict1.diffusion.model.t5",
        "cosmos_predict1.diffusion.model.text",
        "src.depth",
    ),
}
SCRIPTS = REPOSITORY / "scripts"
# As `pkgutil` reads it, a name is a module, or something in one.
RESOLVE_ALL = "import pkgutil, sys\nfor name in sys.argv[1:]:\n    pkgutil.resolve_name(name)\n"
IMPORT_ALL = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imported_names(module: str, path: Path) -> set[str]:
    """Returns the absolute names that a file imports, with those of `from` imports."""
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def module_files() -> dict[str, Path]:
    """Returns the file of every module of the three packages, by dotted name."""
    files = {}
    for root in ROOTS:
        for path in sorted((REPOSITORY / root).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def script_files() -> dict[str, Path]:
    """Returns the file of every command and of what they import, by the name that it has there."""
    files = [*sorted(SCRIPTS.rglob("*.py")), *sorted(REPOSITORY.glob("*.py"))]
    homes = {path: SCRIPTS if SCRIPTS in path.parents else REPOSITORY for path in files}
    return {
        ".".join(path.relative_to(home).with_suffix("").parts): path for path, home in homes.items()
    }


def violations(module: str, path: Path) -> list[str]:
    """The imports of a file that the table does not allow to it."""
    return [
        f"{module} imports {name}"
        for name in sorted(imported_names(module, path))
        for package, importers in IMPORTERS.items()
        if inside(name, package) and not any(inside(module, allowed) for allowed in importers)
    ]


def test_packages_are_imported_in_their_one_place_only() -> None:
    """A second importer of an optional kernel or library, however lazy, or an upward import."""
    found = [line for name, path in module_files().items() for line in violations(name, path)]
    assert not found


@pytest.mark.parametrize(
    ("module", "text", "allowed"),
    [
        ("src.depth.align", "def f():\n    import gsplat.cuda\n", False),
        ("src.rendering.rasterize", "def f():\n    from gsplat import rasterization\n", True),
        ("src.models.recon.scan.seam", "from fla import ops\n", False),
        ("src.reconstruct", "import omegaconf\n", False),
        ("src.io.clip.clip", "import transformers_of_mine\n", True),
        ("src.io.clip.clip", "from cosmos_predict1.diffusion import cache\n", False),
        ("cosmos_predict1.diffusion.run", "from .inference import gen3c_dynamic_sdg\n", False),
        ("cosmos_predict1.diffusion.run", "from . import cache\n", True),
    ],
)
def test_the_import_table_sees_lazy_and_relative_imports(
    tmp_path: Path, module: str, text: str, allowed: bool
) -> None:
    """A reading of import statements that misses some, so that the rule above holds vacuously."""
    path = tmp_path / "module.py"
    path.write_text(text)
    assert (not violations(module, path)) == allowed


def test_every_module_imports_without_the_heavy_packages(tmp_path: Path) -> None:
    """A heavy or optional package imported at the top of a module instead of in its function."""
    program = tmp_path / "import_all.py"
    program.write_text(IMPORT_ALL)
    blocker = REPOSITORY / "tests" / "block_imports.py"
    command = [sys.executable, str(blocker), LAZY, str(program), *module_files()]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_is_where_it_is_imported_from() -> None:
    """An import of what was renamed, moved or joined, in a function that no test runs."""
    files = module_files() | script_files()
    roots = {name.partition(".")[0] for name in files}
    names = {name for module, path in files.items() for name in imported_names(module, path)}
    own = sorted(name for name in names if name.partition(".")[0] in roots)
    assert len(own) > 1000
    paths = {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{SCRIPTS}"}
    command = [sys.executable, "-c", RESOLVE_ALL, *own]
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_blocked_packages_cannot_be_imported(tmp_path: Path) -> None:
    """A blocker that blocks nothing, which would let the test above and that of --help pass."""
    program = tmp_path / "lazy.py"
    program.write_text("import json.decoder\n")
    blocker = REPOSITORY / "tests" / "block_imports.py"
    command = [sys.executable, str(blocker), "json", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "import of json is blocked" in done.stderr


def test_every_part_of_src_has_a_layer() -> None:
    """A new module directly under src that the layers contract does not know, so does not check."""
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = "|".join(
        layer for contract in table["contracts"] for layer in contract.get("layers", [])
    )
    known = {name.strip(" ()") for name in layers.split("|")}
    parts = {".".join(name.split(".")[:2]) for name in module_files() if name.startswith("src.")}
    assert parts <= known


def test_names_that_are_excused_from_the_search_for_unused_code_need_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that stays in the list after its last use has come, and then hides a new ghost."""
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["vulture"]
    monkeypatch.chdir(REPOSITORY)
    finder = Vulture()
    finder.scavenge(table["paths"])
    assert {item.name for item in finder.get_unused_code()} == set(table["ignore_names"])


def test_a_class_name_stands_once() -> None:
    """Two things of one name, of which a reader cannot know which is meant."""
    places: dict[str, list[str]] = {}
    for name, path in (module_files() | script_files()).items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_picture_of_the_imports_is_that_of_the_imports(tmp_path: Path) -> None:
    """A picture in docs/architecture.md that an import has overtaken."""
    script = REPOSITORY / "scripts" / "draw_architecture.py"
    drawn = tmp_path / "drawn.svg"
    subprocess.run([sys.executable, str(script), "--output", str(drawn)], check=True)
    kept = REPOSITORY / "docs" / "images" / "architecture.svg"
    assert drawn.read_text() == kept.read_text()
