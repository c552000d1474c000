"""Parity of the file formats: Gaussians to PLY, and ViPE results to tensors."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from src.depth.backends.vipe import ResizeCrop, read_vipe
from src.gaussians import Gaussians
from src.io.ply import write_ply
from src.runtime import InputError

from .fixture import Fixture


def recon_ply(fixture: Fixture) -> dict[str, Tensor]:
    """Returns the columns of the PLY that we write, whose header must equal the reference's."""
    packed = fixture.inputs("gaussians")
    count = packed.reshape(-1, 14).shape[0]
    fixture.config.require(num_gaussians=count, format="binary_little_endian")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / fixture.config["file"]
        write_ply(path, Gaussians.from_packed(packed.reshape(-1, 14)))
        content = path.read_bytes()
    header = fixture.config["header"].encode("ascii")
    if not content.startswith(header):
        raise InputError(fixture.path, f"our header {content[: len(header)]!r}", repr(header))
    _, body = content.split(b"end_header\n", maxsplit=1)
    columns = len(fixture.config["properties"])
    return {"vertex": torch.frombuffer(bytearray(body), dtype=torch.float32).view(-1, columns)}


def sdg_vipe(fixture: Fixture) -> dict[str, Tensor]:
    """Images, depths, masks, poses and intrinsics of every call that the fixture lists."""
    outputs = {}
    fixture.config.require(intrinsics_format="fxfycxcy", pose_format="4x4")
    # The calls name the stored files.
    fixture.config.describes("clip", "num_clip_frames", "source_hw")
    for index, call in enumerate(fixture.config["calls"]):
        video = read_vipe(
            fixture.path / call["path"],
            start=call["starting_frame"],
            num_frames=call["num_frames"],
            size=ResizeCrop(tuple(call["resize_hw"]), tuple(call["crop_hw"])),
            read_mask=call["read_mask"],
        )
        for name in ("image", "depth", "mask", "w2c", "K"):
            outputs[f"{name}_{index}"] = getattr(video, name)
    return outputs


KINDS: dict[str, Callable[[Fixture], dict[str, Tensor]]] = {
    "recon_ply": recon_ply,
    "sdg_vipe": sdg_vipe,
}
