"""Triton where it is installed; elsewhere a stand-in, so that kernel files can be imported."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:  # Builds of torch for the CPU come without it.
    triton, tl = None, SimpleNamespace(constexpr=int, tensor=object)

__all__ = ["kernel", "tl"]

Variant = tuple[dict[str, int], int, int]


def kernel(*variants: Variant) -> Callable[[Callable[..., None]], Any]:
    """A decorator that makes a Triton kernel.

    Each variant is (block sizes, warps, pipeline stages); the first call takes the fastest. Without
    variants the caller gives the block sizes.
    """

    def compiled(function: Callable[..., None]) -> Any:
        """The kernel; without Triton the function itself, which nobody calls."""
        if triton is None:
            return function
        # Triton reads the source: wrappers (the type checker of the tests) must come off.
        program = triton.jit(inspect.unwrap(function))
        if not variants:
            return program
        configs = [
            triton.Config(blocks, num_warps=warps, num_stages=stages)
            for blocks, warps, stages in variants
        ]
        return triton.autotune(configs, key=[])(program)

    return compiled
