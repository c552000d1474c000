"""Draw the imports: `python scripts/draw_architecture.py` writes docs/images/architecture.svg.

Every box is a package, every line an import; lines that follow from others are left out. The rows
are the layers that import-linter checks (pyproject.toml).
"""

import ast
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = {"nano": "#e9d8fd", "cosmos_predict1": "#fde2c4", "src": "#d3e8f8"}
# In pixels: a box, the gap around it, and the height of a row.
WIDTH, HEIGHT, GAP, ROW = 215, 34, 22, 78
FONT = 'font-family="sans-serif" font-size="14"'

Edges = Mapping[str, set[str]]


def main() -> None:
    """Read the imports and write the picture."""
    parser = manual_parser(__doc__)
    default = REPOSITORY / "docs" / "images" / "architecture.svg"
    parser.add_argument("--output", type=Path, default=default)
    output = parser.parse_args().output
    output.write_text(picture(layers(), reduced(package_imports())))
    print(output)


def layers() -> list[list[str]]:
    """Returns the existing packages of each layer of the contract, top first."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    rows = next(part["layers"] for part in contracts["contracts"] if part["type"] == "layers")
    named = [[name.strip(" ()") for name in row.split("|")] for row in rows]
    folders = [[(name, REPOSITORY / name.replace(".", "/")) for name in row] for row in named]
    return [
        [name for name, path in row if path.is_dir() or path.with_suffix(".py").is_file()]
        for row in folders
    ]


def package_imports() -> Edges:
    """Returns the packages that each package of the layers imports."""
    packages = [name for row in layers() for name in row]
    edges: dict[str, set[str]] = {name: set() for name in packages}
    for module, path in module_files().items():
        owner = _package(module, packages)
        found = {_package(name, packages) for name in imported_names(module, path)}
        if owner is not None:
            edges[owner] |= {name for name in found if name not in (None, owner)}
    return edges


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


def _package(module: str, packages: list[str]) -> str | None:
    """Returns the innermost package that a module belongs to."""
    above = [name for name in packages if f"{module}.".startswith(f"{name}.")]
    return max(above, key=len, default=None)


def reduced(edges: Edges) -> Edges:
    """Returns the edges that do not follow from two or more others."""
    return {
        name: {to for to in targets if not any(_reaches(edges, via, to) for via in targets - {to})}
        for name, targets in edges.items()
    }


def _reaches(edges: Edges, start: str, end: str) -> bool:
    return end in edges[start] or any(_reaches(edges, via, end) for via in edges[start])


def picture(rows: list[list[str]], edges: Edges) -> str:
    """Returns the SVG: a row of boxes for each layer, importers above imported packages."""
    width = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    boxes: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for place, name in enumerate(row):
            boxes[name] = (left + place * (WIDTH + GAP), GAP + number * ROW)
    height = len(rows) * ROW + GAP
    lines = [_line(boxes[name], boxes[to]) for name in edges for to in sorted(edges[name])]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *lines,
            *(_box(name, place) for name, place in boxes.items()),
            "</svg>\n",
        ]
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    x, y, to_x, to_y = start[0] + WIDTH / 2, start[1] + HEIGHT, end[0] + WIDTH / 2, end[1]
    bend = (to_y - y) / 2
    path = f"M{x:g} {y:g} C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
    return f'<path d="{path}" fill="none" stroke="#888" stroke-width="1.2"/>'


def _box(name: str, place: tuple[float, float]) -> str:
    color = ROOTS[name.partition(".")[0]]
    x, y = place
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{color}" '
        f'stroke="#555"/><text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 5:g}" {FONT} '
        f'text-anchor="middle">{name}</text>'
    )


if __name__ == "__main__":
    run_entry(main, "draw_architecture.py")
