"""Muon: updates of matrices that are orthogonal, so that all directions learn equally fast.

Adam divides each number of a gradient by its own size, and small modes of a badly scaled problem
still wait for the large ones. Muon replaces the averaged gradient `U S V^T` of a matrix by `U V^T`
(Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"), scaled to the size
of Adam's updates (Liu et al. 2025, "Muon is scalable for LLM training", arXiv 2502.16982).
`torch.optim.Muon`, from torch 2.9 on, takes matrices only: no kernels, and no vectors beside them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# Coefficients of the quintic iteration, and how often it runs (Jordan et al.).
QUINTIC, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
# The root mean square of Adam's updates (Liu et al., section 2.2).
SIZE = 0.2
MOMENTUM = "momentum"


class Muon(torch.optim.AdamW):
    """Muon for groups with `matrices=True`, AdamW for the others; one learning rate serves both.

    A parameter of more than two dimensions is the matrix of its outputs by everything else. The
    momentum, Nesterov's, is `beta1` of its group.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient; as torch's optimizers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = []
        for group in self.param_groups:
            if group.get("matrices"):
                members = [part for part in group["params"] if part.grad is not None]
                gradients += [(part, part.grad) for part in members]
                self._update(members, group)
                # So that AdamW leaves them out.
                for part in members:
                    part.grad = None
        super().step()
        for part, gradient in gradients:
            part.grad = gradient
        return loss

    def _update(self, members: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Update the matrices of a group, those of one shape together."""
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for part in members:
            by_shape.setdefault(part.flatten(1).shape, []).append(part)
        beta, rate = group["betas"][0], group["lr"]
        for shape, some in by_shape.items():
            directions = []
            for part in some:
                state, gradient = self.state[part], part.grad
                assert gradient is not None, "a gradient that is gone"
                average = state.setdefault(MOMENTUM, torch.zeros_like(part))
                average.lerp_(gradient, 1 - beta)
                directions.append(gradient.lerp(average, beta).flatten(1))
            updates = orthogonalise(torch.stack(directions))
            scale = rate * SIZE * math.sqrt(max(shape))
            for part, update in zip(some, updates, strict=True):
                part.mul_(1 - rate * group["weight_decay"])
                part.sub_(update.view_as(part).to(part.dtype), alpha=scale)


def orthogonalise(matrices: Float[Tensor, "n row column"]) -> Float[Tensor, "n row column"]:
    """Returns about `U V^T` of each matrix `U S V^T`: singular values from 0.7 to 1.2.

    A Newton-Schulz iteration, in bfloat16 on CUDA. A matrix of zeros stays one.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (torch.linalg.matrix_norm(x.float(), keepdim=True) + 1e-7).to(x.dtype)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        squares = x @ x.mT
        x = a * x + (b * squares + c * squares @ squares) @ x
    return (x.mT if tall else x).to(matrices.dtype)
