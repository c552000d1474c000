"""A generator's tensors under their published names, by the program's tables read backwards."""

from collections.abc import Mapping

from torch import Tensor

from cosmos_predict1.diffusion.model.weights import BLOCK, PREFIX, SHARED

BLOCKS = "transformer_blocks."


def to_published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as a published file names them."""
    rows = {ours: PREFIX + published for published, ours in SHARED.items()}
    for index in {name.split(".")[1] for name in state if name.startswith(BLOCKS)}:
        for published, ours in BLOCK.items():
            rows[f"{BLOCKS}{index}.{ours}"] = f"{PREFIX}blocks.block{index}.{published}"
    return {rows[name]: tensor for name, tensor in state.items()}
