"""Which part of the generator is on the GPU while another works; nothing happens on a CPU.

Parts that work once per clip (tokenizer, text encoder, depth) move there and back. The transformer
works 70 times: its blocks stream through the GPU one by one, each copied while the one before it
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
    """`module` on `device` while the block runs; with `offload` it leaves the GPU afterwards.

    Without `offload` it stays, so the next time costs nothing.
    """
    module.to(device)
    try:
        yield module
    finally:
        if offload and device.type != "cpu":
            module.to("cpu")
            # Other programs, and torch's own larger blocks, cannot use what the allocator keeps.
            torch.cuda.empty_cache()


def stream_blocks(network: Gen3CTransformer, device: torch.device) -> None:
    """Keep the transformer in pinned memory and stream its blocks through `device`, from now on.

    For inference on a CUDA device, with a network that lies on the CPU. Not with compiled blocks:
    the copying is done by hooks around them, which a compiled program does not run.
    """
    if device.type == "cpu":
        return
    from diffusers.hooks import apply_group_offloading

    # One block a group is what streams support; a block is 0.5 GB, 10 ms of copying and 150 ms of
    # computing at full size, so larger groups would hide nothing more.
    apply_group_offloading(
        network,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=True,
    )
