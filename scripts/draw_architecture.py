"""Draw the imports: `python scripts/draw_architecture.py` writes docs/images/architecture.svg.

Every box is a package, every line an import; lines that follow from others are left out. The rows
are the layers that import-linter checks (pyproject.toml).
"""

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
    rows = layers()
    output.write_text(picture(rows, package_imports([name for row in rows for name in row])))
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


def package_imports(packages: list[str]) -> Edges:
    """Returns what each package imports, without the imports that follow from two or more."""
    import grimp
    import networkx

    modules = grimp.build_graph(*ROOTS, cache_dir=None)
    edges = networkx.DiGraph()
    edges.add_nodes_from(packages)
    for module in modules.modules:
        imported = [module, *modules.find_modules_directly_imported_by(module)]
        owner, *found = (_package(name, packages) for name in imported)
        edges.add_edges_from((owner, name) for name in found if owner and name not in (None, owner))
    reduced = networkx.transitive_reduction(edges)
    return {name: set(reduced.successors(name)) for name in packages}


def _package(module: str, packages: list[str]) -> str | None:
    """Returns the innermost package that a module belongs to."""
    above = [name for name in packages if f"{module}.".startswith(f"{name}.")]
    return max(above, key=len, default=None)


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
