"""Tensors that were computed before, the latest ones, up to so many bytes."""

from collections import OrderedDict
from collections.abc import Hashable

from jaxtyping import Float
from torch import Tensor


class Kept:
    """Tensors by key; those that nobody has asked for the longest make room for new ones."""

    def __init__(self, most_bytes: int) -> None:
        """Keep nothing yet, and never more than `most_bytes`."""
        assert most_bytes >= 0, f"{most_bytes} bytes"
        self.most_bytes, self.bytes = most_bytes, 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, key: Hashable) -> Float[Tensor, "*shape"] | None:
        """The tensor of this key, if it is still there."""
        if key in self._tensors:
            self._tensors.move_to_end(key)
        return self._tensors.get(key)

    def add(self, key: Hashable, tensor: Float[Tensor, "*shape"]) -> None:
        """Keep a tensor under a new key; one that is larger than everything is not kept.

        A part of a larger tensor must be a copy: the larger one would stay as a whole.
        """
        assert key not in self._tensors, f"kept already: {key!r}"
        if tensor.nbytes > self.most_bytes:
            return
        self._tensors[key] = tensor
        self.bytes += tensor.nbytes
        while self.bytes > self.most_bytes:
            _, oldest = self._tensors.popitem(last=False)
            self.bytes -= oldest.nbytes
