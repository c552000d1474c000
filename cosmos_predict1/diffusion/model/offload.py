"""Moves parts of the generator between CPU and GPU; does nothing on a machine without a GPU.

Parts that work once in a clip (tokenizer, text encoder, depth) move there and back. The transformer
works 70 times: its blocks stream through the GPU one by one, each copied while the previous one
computes, so that it needs the memory of two blocks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from .network import Gen3CTransformer

Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def resident(module: Module, device: torch.device, offload: bool) -> Iterator[Module]:
    """Keep `module` on `device` while the block runs; with `offload` it returns to the CPU."""
    module.to(device)
    try:
        yield module
    finally:
        if offload and device.type != "cpu":
            module.to("cpu")
            # The allocator's cache is lost to other programs and to torch's own larger blocks.
            torch.cuda.empty_cache()


def stream_blocks(network: Gen3CTransformer, device: torch.device) -> None:
    """Keep the transformer in pinned memory and stream its blocks through `device` from now on.

    For inference on a CUDA device, with a network on the CPU and without compiled blocks: hooks
    around the blocks do the copying, and a compiled program does not run them.
    """
    if device.type == "cpu":
        return
    from diffusers.hooks import apply_group_offloading

    # Streams support groups of one block only. A block is 0.5 GB, 10 ms of copying and 150 ms of
    # computing at full size, so larger groups would hide nothing more.
    apply_group_offloading(
        network,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=True,
    )
