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


# Files of tests of half a minute and more, in their order; `scripts/test.sh` starts with them, so
# that no core is idle at the end.
LONGEST = (
    *("entry/test_quickstart.py", "entry/test_train.py", "entry/test_published_commands.py"),
    *("src/viewer/test_nano_scenes.py", "src/viewer/test_large_scenes.py", "corpus/test_fuzz.py"),
    *("src/training/test_launches.py", "src/training/tokenizer/test_guided.py"),
    *("kills/test_kills.py", "entry/test_static_sdg.py", "entry/test_sample.py"),
    *("src/evaluation/capture/test_command.py",),
    *("entry/test_nano.py", "nano/worlds/rendering/test_shading.py", "src/io/video/test_video.py"),
    *("src/viewer/test_page.py", "src/training/test_survival.py", "src/viewer/test_controls.py"),
)


def _place(item: pytest.Item) -> int:
    name = item.path.as_posix().partition("/tests/")[2]
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
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
