"""Tests of compiled shading, in processes of their own: checks of annotations don't compile."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from nano.worlds.rendering import shading
from nano.worlds.rendering.render import WorldFrames, render_worlds
from nano.worlds.scene import Worlds, build_worlds, world_cameras
from src.geometry.cameras import Cameras

REPOSITORY = Path(__file__).resolve().parents[4]


def pictures(worlds: Worlds, size: tuple[int, int], supersample: int, compile: bool) -> WorldFrames:
    start = world_cameras(worlds, *size)
    cameras = Cameras(start.c2w[:, None], start.intrinsics[:, None], *size)
    times = torch.zeros(len(worlds), 1, device=start.c2w.device)
    return render_worlds(worlds, cameras, times, supersample, compile)


def assert_alike(first: WorldFrames, second: WorldFrames) -> None:
    # Rays within rounding of an edge may fall to either side of it.
    close = (first.depth / second.depth - 1).abs() < 1e-4
    assert close.float().mean() > 0.999
    assert (first.rgb - second.rgb).abs().amax(2)[close].quantile(0.995) < 1e-3


def check_graph() -> None:
    counter = CompileCounter()
    graph = torch.compile(shading.shade, fullgraph=True, backend=counter)
    shading._compiled = lambda shader: graph
    cases = [
        (range(3), (40, 22), 2),
        (range(9, 10), (64, 36), 1),
        # One block of rays; samples that don't fill a block.
        (range(7, 8), (20, 11), 1),
        (range(40, 46), (48, 27), 3),
    ]
    for seeds, size, supersample in cases:
        draw = partial(pictures, build_worlds(seeds), size, supersample)
        assert_alike(draw(compile=True), draw(compile=False))
    assert counter.frame_count == 1, f"{counter.frame_count} graphs"


def check_kernels(device: str) -> None:
    draw = partial(pictures, build_worlds(range(4)).to(device), (64, 36), 2)
    compiled = draw(compile=True)
    assert_alike(compiled, draw(compile=False))
    assert torch.equal(compiled.rgb, draw(compile=True).rgb)


def run_alone(check: str) -> None:
    """The check in a new interpreter, where nothing wraps the functions."""
    command = [sys.executable, __file__, check]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_one_graph_serves_all_worlds_pictures_and_samples() -> None:
    """Catches breaks of the graph, padding that shows, and a compilation for each size."""
    run_alone("graph")


@pytest.mark.slow
def test_the_compiled_shader_draws_the_same_pictures() -> None:
    """Catches code that a compiler reads otherwise than it runs."""
    run_alone("cpu")


@pytest.mark.gpu
def test_the_compiled_shader_draws_the_same_pictures_on_cuda() -> None:
    """Catches kernels that a GPU's compiler gets wrong, and pictures that don't repeat."""
    run_alone("cuda")


if __name__ == "__main__":
    if sys.argv[1] == "graph":
        check_graph()
    else:
        check_kernels(sys.argv[1])
