"""Both stages where the file system refuses: a line each, no traceback.

A limit on the size of files stands in for a full disk: it needs no mount, hence no root.
"""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_generator import write_picture, write_tiny_weights
from tiny_scene import TinyInput, write_tiny_input
from warm.python import warm_python

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATE = REPOSITORY / "cosmos_predict1/diffusion/inference/gen3c_single_image_sdg.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
SECONDS = 300
# Root may write everywhere.
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
pytestmark = pytest.mark.slow
Command = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    """What writes into a folder: the generator and the decoder."""
    root = tmp_path_factory.mktemp("input")
    write_tiny_weights(root / "weights")
    picture = write_picture(root / "photo.png")
    tiny: TinyInput = write_tiny_input(root / "tiny", scenes=2)
    flags = ["--checkpoint_dir", str(root / "weights"), "--input_image_path", str(picture)]
    flags += ["--multi_trajectory", "--num_steps", "8"]

    def generate(out: Path) -> list[str]:
        return [warm_python(), str(GENERATE), *flags, "--video_save_folder", str(out)]

    def decode(out: Path) -> list[str]:
        arguments = tiny.arguments(f"out_dir_inference={out}")
        return [warm_python(), str(REPOSITORY / "sample.py"), *arguments]

    return {"generate": generate, "decode": decode}


def refused(command: list[str], before: Callable[[], None] | None = None) -> str:
    """The one line that a command ends with that cannot write."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=before,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("size", [0, 1000])
@pytest.mark.parametrize("name", ["generate", "decode"])
def test_a_full_disk(jobs: dict[str, Command], name: str, size: int, tmp_path: Path) -> None:
    """A traceback, a file without a name, or a temporary that takes the last room."""
    out = tmp_path / "out"
    said = refused(jobs[name](out), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    # Without any room the decoder does not even find a place for temporary files.
    assert "room" in said and (str(out) in said or "temporary files" in said)
    assert not [path for path in out.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("below", ["file", "file/out", "n" * 300])
@pytest.mark.parametrize("name", ["generate", "decode"])
def test_a_place_that_is_none(
    jobs: dict[str, Command], name: str, below: str, tmp_path: Path
) -> None:
    """A traceback for a path through a file, or for a name that is too long."""
    (tmp_path / "file").touch()
    said = refused(jobs[name](tmp_path / below))
    assert str(tmp_path / below)[:100] in said and "expected a" in said


@as_user
@pytest.mark.parametrize("mode", [0o500, 0o000])
@pytest.mark.parametrize("name", ["generate", "decode"])
def test_a_folder_of_somebody_else(
    jobs: dict[str, Command], name: str, mode: int, tmp_path: Path
) -> None:
    """A traceback where the user may not write, or not even look."""
    out = tmp_path / "out"
    out.mkdir(mode=mode)
    try:
        assert "Permission denied" in refused(jobs[name](out))
    finally:
        out.chmod(0o700)


@pytest.mark.parametrize(("name", "pattern"), [("generate", "*.mp4"), ("decode", "*.ply")])
def test_an_output_folder_that_somebody_removes(
    jobs: dict[str, Command], name: str, pattern: str, tmp_path: Path
) -> None:
    """A run that ends well, or in a traceback, although its results are gone."""
    out, limit = tmp_path / "out", time.monotonic() + SECONDS
    with subprocess.Popen(
        jobs[name](out), cwd=REPOSITORY, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(out.rglob(pattern)):
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.01)
        shutil.rmtree(out, ignore_errors=True)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert str(out) in said
