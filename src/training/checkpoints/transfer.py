"""Tensors on their way between checkpoint and processes: process 0 alone reads and writes them.

Process 0 gives every other process one tensor at a time; the whole state is in the memory of no
other process.
"""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from ...runtime import rank


def gathered(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Returns the whole of a tensor on its device; a collective call if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies on the CPU in process 0 and nothing in the others; all processes call it."""
    copies = {}
    for name, tensor in tensors.items():
        whole = gathered(tensor)
        if rank() == 0:
            copies[name] = whole.detach().to("cpu", copy=True)
    return copies


def outline(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors without their numbers, on the meta device; counters stay as they are."""
    return {name: value.to("meta") if value.ndim else value for name, value in tensors.items()}


def spread(value: Shaped[Tensor, "..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Returns the tensor of process 0 on the device of `like`, sharded as that is.

    A collective call; the other processes give an `outline`.
    """
    placed = torch.empty_like(value, device=like.device) if value.is_meta else value.to(like.device)
    if dist.is_initialized():
        placed = placed.contiguous()
        dist.broadcast(placed, 0)
    if isinstance(like, DTensor):
        return distribute_tensor(placed, like.device_mesh, like.placements)
    return placed
