"""Validation on held-out samples: figures over all processes, and a picture."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...io.image.image import write_png
from ..checkpoints.snapshot import random_state, set_random_state
from ..checkpoints.writing import writing
from ..task import Batch, Model, Share, Task, Validation
from .processes import gather_all

PICTURES = "validation"


@torch.no_grad()
def validate(task: Task[Batch], model: Model, share: Share, device: torch.device) -> Validation:
    """Returns the figures of all processes, weighted by their samples, and this one's picture.

    Restores the random generators, so that validations do not change the training.
    """
    generators = random_state(device)
    own = task.validate(model, share)
    set_random_state(generators, device)
    parts = gather_all(Validation(count=own.count, figures=own.figures, counts=own.counts))
    return replace(joined(parts), picture=own.picture)


def joined(parts: Sequence[Validation]) -> Validation:
    """Returns means over all samples that have a figure, without a picture."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for part in parts:
        for name, value in part.figures.items():
            count = part.counts.get(name, part.count)
            sums[name] = sums.get(name, 0.0) + value * count
            counts[name] = counts.get(name, 0) + count
    means = {name: value / counts[name] for name, value in sums.items() if counts[name]}
    return Validation(count=sum(part.count for part in parts), figures=means, counts=counts)


def write_picture(output_dir: Path, step: int, picture: UInt8[Tensor, "h w 3"]) -> Path:
    """Write the picture of a step; returns its file."""
    path = output_dir / PICTURES / f"step-{step:06d}.png"
    with writing(path):
        write_png(path, picture)
    return path


def show_picture(trackers: list[Any], picture: UInt8[Tensor, "h w 3"], step: int) -> None:
    """Send a picture to the trackers that accept pictures."""
    pictures = {"validation": picture[None].cpu().numpy()}
    for tracker in trackers:
        if tracker.name == "tensorboard":
            tracker.log_images(pictures, step=step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images(pictures, step=step)
