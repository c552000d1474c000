"""Writing and reading clips as mp4, beside PyAV with the number of threads of its default.

PyAV converts the colours of every frame with new threads, one a core by default. Their number is a
parameter here, so that any machine can measure the default of a larger one.
"""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from src.io.video.video import read_video, write_video

from .row import Row, seconds

# (frames, height, width): a clip of nano, and one of the full size.
SIZES = ((17, 176, 320), (121, 704, 1280))
MANY = 64

Frames = UInt8[Tensor, "frame h w 3"]


def run(device: torch.device) -> Iterator[Row]:
    """Yields rows for both sizes, with this machine's cores and a large machine's; on the CPU."""
    del device
    with tempfile.TemporaryDirectory() as folder:
        path, peer = Path(folder) / "ours.mp4", Path(folder) / "peer.mp4"
        for size in SIZES:
            frames, name = _moving(size), "x".join(map(str, size))
            write = seconds(partial(write_video, path, frames, 24))
            read = seconds(partial(read_video, path))
            for threads in dict.fromkeys((os.cpu_count() or 1, MANY)):
                library = f"PyAV, {threads} threads"
                theirs = seconds(partial(_write, peer, frames, threads))
                yield Row(f"write {name}", write, peer=(library, theirs))
                theirs = seconds(partial(_read, path, threads))
                yield Row(f"read {name}", read, peer=(library, theirs))


def _moving(size: tuple[int, int, int]) -> Frames:
    """Returns smooth random colours that move."""
    count, height, width = size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 16, width // 16, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    picture = (picture * 255).to(torch.uint8).movedim(0, -1)
    return torch.stack([picture.roll(3 * index, 1) for index in range(count)])


def _write(path: Path, frames: Frames, threads: int) -> None:
    """Encodes alike to a synchronised file, neither checked nor atomic."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "10", "g": "24"}
        for frame in frames.numpy():
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", interpolation="BICUBIC", threads=threads)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read(path: Path, threads: int) -> Frames:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoded = container.decode(stream)
        frames = [frame.to_ndarray(format="rgb24", threads=threads) for frame in decoded]
    return torch.from_numpy(np.stack(frames))
