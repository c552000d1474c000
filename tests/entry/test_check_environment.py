"""scripts/check_environment.py judges versions rightly and fails for core requirements alone."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "check_environment.py"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_environment", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("version", "bounds", "state"),
    [
        ("2.13.0+cpu", ">=2.7", "found"),
        ("2.7.0", ">=2.7", "found"),
        ("2.7", ">=2.7.0", "found"),
        ("2.10", ">=2.9", "found"),
        ("2.6.9", ">=2.7", "too old"),
        ("1.6.0", ">=1.5.3,<1.6", "too new"),
        ("1.5.9", ">=1.5.3,<1.6", "found"),
        ("1.5.2", ">=1.5.3,<1.6", "too old"),
        ("5.0.0rc1", ">=5.0", "found"),
        ("0.1", "", "found"),
    ],
)
def test_versions_are_compared_by_number(
    check: ModuleType, version: str, bounds: str, state: str
) -> None:
    """Versions compared as text (2.10 < 2.9), a local part or a trailing zero that counts."""
    assert check.judge(version, bounds) == state


def test_an_unknown_bound_is_refused(check: ModuleType) -> None:
    """A bound of another kind in pyproject.toml that would be passed over in silence."""
    with pytest.raises(ValueError, match="~=2.0"):
        check.judge("2.1", "~=2.0")


@pytest.mark.parametrize("requirement", ["no-such-package>=1", "pytest>=1000", "pytest<1"])
def test_only_core_requirements_set_the_exit_code(check: ModuleType, requirement: str) -> None:
    """A broken core requirement that goes unnoticed, or an optional one that fails the check."""
    core = check.check_package(requirement, "all", core=True)
    optional = check.check_package(requirement, "little", core=False)
    good = check.check_package("pytest>=1", "all", core=True)
    assert check.exit_code([good, core]) == 1
    assert check.exit_code([good, optional]) == 0
    assert good.state == "found" and core.state != "found"


def test_every_requirement_of_the_project_has_its_line(check: ModuleType) -> None:
    """A dependency added to pyproject.toml of which the check says nothing, or a stale line."""
    findings = check.check_packages(PROJECT)
    extras = PROJECT["optional-dependencies"]
    assert len(findings) == 1 + len(PROJECT["dependencies"]) + sum(map(len, extras.values()))
    assert sum(finding.core for finding in findings) == 1 + len(PROJECT["dependencies"])
    assert set(check.LOST) <= {finding.name.lower() for finding in findings}


def test_the_command_fails_without_site_packages() -> None:
    """A check that itself needs the packages it looks for, or that passes on a bare Python."""
    command = [sys.executable, "-S", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("missing  core     torch") for line in lines)
    assert any(line.startswith("found    core     python") for line in lines)


def test_the_command_passes_where_the_core_is_installed() -> None:
    """An exit code that does not follow from the lines above it."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    core_unmet = any(rest.startswith("core") for state, rest in lines if state != "found")
    assert done.returncode == int(core_unmet), done.stdout


def test_weights_count_only_with_files(check: ModuleType, tmp_path: Path) -> None:
    """A folder of a broken-off download, or a model card alone, that passes for weights."""
    (tmp_path / "checkpoints" / "Lyra").mkdir(parents=True)
    (tmp_path / "checkpoints" / "Lyra" / "README.md").write_text("a card")
    (tmp_path / "assets" / "nano" / "depth").mkdir(parents=True)
    (tmp_path / "assets" / "nano" / "depth" / "model.safetensors").write_bytes(b"0" * 10)
    states = {finding.name: finding.state for finding in check.check_weights(tmp_path)}
    assert states["checkpoints/Lyra"] == states["checkpoints/moge"] == "missing"
    assert states["assets/nano"] == "found"


def test_weights_count_in_either_published_place(check: ModuleType, tmp_path: Path) -> None:
    """A tokenizer that the original's scripts have put elsewhere, said to be missing."""
    folder = tmp_path / "checkpoints/cosmos_predict1/Cosmos-Tokenize1-CV8x8x8-720p"
    folder.mkdir(parents=True)
    (folder / "encoder.jit").write_bytes(b"0" * 10)
    states = {finding.name: finding.state for finding in check.check_weights(tmp_path)}
    assert states["checkpoints/Cosmos-Tokenize1-CV8x8x8-720p"] == "found"


def test_room_is_judged_for_three_wishes(check: ModuleType, tmp_path: Path) -> None:
    """A need of the full size that nobody is told of."""
    names = [finding.name for finding in check.check_room(tmp_path)]
    assert names == ["free disk space", "memory", "memory for T5-11b"]
