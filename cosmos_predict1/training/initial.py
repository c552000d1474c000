"""New weights of a generator that is trained from scratch."""

import torch
from torch import nn

from ..diffusion.model.network import Gen3CTransformer

# What shifts, scales and gates in the blocks and after them, and the last layer.
MODULATION = ("linear_2.weight", "proj_out.weight")
POSITION_STD, PATCH_STD = 0.3, 0.2


@torch.no_grad()
def initialise(network: Gen3CTransformer) -> None:
    """Set weights with which the network begins as the zero function of a sound scale.

    Modulations and output are zeros (Peebles and Xie 2023, section 3.2, "adaLN-Zero"), so each
    block begins as the identity. The position embedding, whose default is zero, is normalised in
    use: at zero its gradient is a million. It is added in each block with a mean square of 1, hence
    patches begin larger than by default.
    """
    for name, parameter in network.named_parameters():
        if name.endswith(MODULATION):
            parameter.zero_()
        elif name.startswith("learnable_pos_embed"):
            parameter.normal_(std=POSITION_STD)
    projection = network.patch_embed.get_submodule("proj")
    assert isinstance(projection, nn.Linear), type(projection)
    projection.weight.normal_(std=PATCH_STD)
