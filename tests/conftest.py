"""Shape and type checks under test, skips for what this machine lacks, and the fixture folder."""

from pathlib import Path

from scripts.check_parity import fix_rounding

fix_rounding()

import pytest  # noqa: E402
import torch  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

HOOK = install_import_hook(["src", "cosmos_predict1", "nano"], "numeric_tower.check")
import nano  # noqa: E402, F401 (offers its worlds to the trainings)

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of parity data beside the repository; its tests skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"parity data not found at {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
