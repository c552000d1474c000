"""Exports of the quickstart's garden and of two million Gaussians: size, seconds, memory, errors.

Every export runs in a process of its own. Seconds are processor time of the export alone, without
starting Python and reading the PLY; memory is the largest of the whole process. Errors are those of
the readers of `tests/src/export`, which share no code with the writers: median, 99th percentile and
maximum. `render` is the PSNR of a rendering of the file against one of the scene, the least of
three cameras. The large scene is the garden, tiled, with a little noise on every value.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from src.export.formats import FORMATS, export_scene
from src.gaussians import Gaussians
from src.io.cameras.file import read_camera_file
from src.io.ply import read_ply, write_ply
from src.io.scene import read_scene
from src.rendering.rasterize import rasterize
from tests.src.export.comparing import (
    DECIBELS,
    EXACT_DECIBELS,
    READERS,
    differences,
    paired,
    turned_back,
)

REPOSITORY = Path(__file__).resolve().parents[2]
LARGE, BUDGET = 2_000_000, 60.0
# The rasteriser for CPUs takes minutes for a picture of more.
MOST_RENDERED = 100_000
HEAD = (
    "| Format | MB | CPU s | GB | Position | Scale, relative | Rotation, degrees | Opacity "
    "| Colour | Render, dB |\n|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Export:
    """An export as a row of the table.

    Attributes:
        name: of the format.
        size: bytes of all files.
        seconds: of processor time.
        memory: bytes, the largest of the process.
        errors: medians, 99th percentiles and maxima.
        decibels: PSNR of a rendering; None where none was made.
    """

    name: str
    size: int
    seconds: float
    memory: int
    errors: tuple[str, ...] = ()
    decibels: float | None = None

    def __str__(self) -> str:
        figures = (f"{self.size / 1e6:.3g}", f"{self.seconds:.2g}", f"{self.memory / 1e9:.2f}")
        cells = [self.name, *figures, *(self.errors or [""] * 5)]
        cells.append("" if self.decibels is None else f"{self.decibels:.1f}")
        return f"| {' | '.join(cells)} |"


def run(device: torch.device) -> Iterator[str]:
    """Yields the two tables; exports always run on the CPU."""
    del device
    with tempfile.TemporaryDirectory() as folder:
        garden = _make_garden(Path(folder))
        large = Path(folder) / "large" / garden.relative_to(garden.parents[1])
        for name in ("raw", "scenes"):
            shutil.copytree(garden.parents[1] / name, large.parents[1] / name)
        write_ply(large, tiled(read_ply(garden), LARGE))
        for source in (garden, large):
            rows = [str(row) for row in measured(source, Path(folder))]
            yield "\n".join([f"{len(read_ply(source)):,} Gaussians", HEAD, *rows])


def measured(source: Path, folder: Path) -> Iterator[Export]:
    """Yields the row of each format.

    Raises:
        RuntimeError: an export takes longer than its budget, or a rendering of it is worse.
    """
    for name in FORMATS:
        target = folder / f"export{FORMATS[name].suffix}"
        # A new process each, whose peak of memory is that of this export.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds, memory, size = pool.submit(_export, source, target, name).result()
        if seconds > BUDGET:
            raise RuntimeError(f"{name}: {seconds:.1f} s of processor time, budget {BUDGET} s")
        row = Export(name, size, seconds, memory)
        yield row if name == "colmap" else _compared(row, source, target)


def tiled(gaussians: Gaussians, count: int) -> Gaussians:
    """Returns `count` Gaussians: copies beside each other, no two of them alike."""
    generator = np.random.default_rng(0)
    rows = gaussians.packed().double().numpy()
    width = np.ptp(np.quantile(rows[:, :3], (0.01, 0.99), axis=0), axis=0).max()
    number = np.arange(count) // len(rows)
    side = int(np.ceil((number[-1] + 1) ** 0.5))
    rows = rows[np.arange(count) % len(rows)]
    noise = generator.normal(size=rows.shape)
    rows[:, :3] += 0.01 * width * noise[:, :3]
    rows[:, 0] += width * (number % side)
    rows[:, 2] += width * (number // side)
    logits = np.log(rows[:, 3] / (1 - rows[:, 3])) + 0.1 * noise[:, 3]
    rows[:, 3] = 1 / (1 + np.exp(-logits))
    rows[:, 4:7] *= np.exp(0.1 * noise[:, 4:7])
    rows[:, 7:11] += 0.05 * noise[:, 7:11]
    rows[:, 7:11] /= np.linalg.norm(rows[:, 7:11], axis=1, keepdims=True)
    rows[:, 11:] = (rows[:, 11:] + 0.02 * noise[:, 11:]).clip(0, 1)
    return Gaussians.from_packed(torch.from_numpy(rows).float())


def _make_garden(folder: Path) -> Path:
    """Returns the PLY that the quickstart makes of its first picture."""
    command = ["bash", "scripts/quickstart.sh", "assets/demo/garden.jpg"]
    command += ["--output", str(folder / "garden"), "--python", sys.executable]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (ply,) = folder.rglob("gaussians_orig/*.ply")
    return ply


def _export(source: Path, target: Path, name: str) -> tuple[float, int, int]:
    """Returns seconds of processor time, the peak of memory in bytes, and the bytes written."""
    scene = read_scene(source)
    begin = time.process_time()
    export_scene(scene, target, name)
    seconds = time.process_time() - begin
    # `ru_maxrss` would begin with the peak of the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    files = target.rglob("*.*") if target.is_dir() else [target]
    size = sum(file.stat().st_size for file in files)
    return seconds, 1024 * int(status["VmHWM"].split()[0]), size


def _compared(row: Export, source: Path, target: Path) -> Export:
    """Returns the row with errors and, for a scene with cameras, the PSNR."""
    scene = read_scene(source)
    true = scene.moments[0].packed().double().numpy()
    found = turned_back(READERS[row.name](target), FORMATS[row.name].ups[0])
    found = paired(found, true)
    parts = [np.quantile(error, (0.5, 0.99, 1)) for error in differences(found, true).values()]
    errors = tuple("/".join(f"{value:.1g}" for value in part) for part in parts)
    decibels = None
    if scene.results is not None and len(true) <= MOST_RENDERED:
        cameras = read_camera_file(scene.results / "cameras.json").cameras
        cameras = cameras[:: (len(cameras) - 1) // 2]
        pictures = [
            rasterize(gaussians, cameras).color.double()
            for gaussians in (scene.moments[0], Gaussians.from_packed(torch.from_numpy(found)))
        ]
        error = (pictures[0] - pictures[1]).square().mean(dim=(1, 2, 3)).max()
        decibels = -10 * float(error.log10())
        least = DECIBELS.get(row.name, EXACT_DECIBELS)
        if decibels < least:
            raise RuntimeError(f"{row.name}: {decibels:.1f} dB, at least {least} dB")
    return Export(row.name, row.size, row.seconds, row.memory, errors, decibels=decibels)
