"""Runs fixtures against our code: the table of kinds, and the result of each fixture."""

import importlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from src.runtime import InputError

from .compare import Agreement, compare
from .fixture import Fixture, load_fixture

Kind = Callable[[Fixture], dict[str, Tensor] | list[Agreement]]
# Errors of our code on a fixture that must not keep the other fixtures from running.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Result:
    """The result of one fixture; `status` is `pass`, `FAIL`, `error` or `unsupported`."""

    name: str
    kind: str
    status: str
    checks: list[Agreement]
    message: str = ""

    @property
    def passed(self) -> bool:
        """Whether every output of the fixture matches."""
        return self.status == "pass"

    def __str__(self) -> str:
        head = f"{self.status:<11} {self.name} ({self.kind}):"
        if not self.checks:
            return f"{head} {self.message}"
        failed = sum(not check.passed for check in self.checks)
        total = len(self.checks)
        count = f"{failed} of {total} outside" if failed else f"{total} checks"
        return f"{head} worst {max(self.checks, key=_severity)}; {count}"


def _severity(check: Agreement) -> tuple[bool, float]:
    """The sort key: how close a check is to failing; an exact one that holds counts least."""
    return not check.passed, check.error / check.tolerance if check.tolerance > 0 else 0.0


def find_fixtures(folders: Iterable[Path]) -> list[Path]:
    """The fixture folders among `folders` and, for those that are none, directly inside them."""
    found = []
    for folder in folders:
        inside = (folder,) if (folder / "fixture.json").is_file() else sorted(folder.iterdir())
        found += [path for path in inside if (path / "fixture.json").is_file()]
    return found


def load_kinds() -> dict[str, Kind]:
    """Every supported kind: the `KINDS` of all modules beside this one."""
    kinds: dict[str, Kind] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        module = importlib.import_module(f".{path.stem}", __package__)
        offered = getattr(module, "KINDS", {})
        twice = sorted(kinds.keys() & offered.keys())
        assert not twice, f"{path.name} offers kinds that another module offers: {twice}"
        kinds.update(offered)
    return kinds


def run_fixture(
    folder: Path, kinds: dict[str, Kind], only: Container[str] | None = None
) -> Result | None:
    """Returns the result of one fixture, or None if its kind is not among `only`.

    An error of our code is a result too, and so is a value of the configuration that nobody read.
    """
    kind = "?"
    try:
        fixture = load_fixture(folder)
        kind = fixture.kind
        if only is not None and kind not in only:
            return None
        if kind not in kinds:
            return Result(folder.name, kind, "unsupported", [], "kind not supported yet")
        ours = kinds[kind](fixture)
        checks = compare(fixture, ours) if isinstance(ours, dict) else ours
        assert checks, "nothing was compared"
        if unread := ", ".join(fixture.config.unread()):
            raise InputError("config", f"values that are not supported: {unread}", "none of them")
    except FAILURES as error:
        return Result(folder.name, kind, "error", [], f"{type(error).__name__}: {error}")
    status = "pass" if all(check.passed for check in checks) else "FAIL"
    return Result(folder.name, kind, status, checks)
