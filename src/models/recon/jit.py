"""Triton, or a stand-in that lets kernel files be imported where it is not installed."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:  # CPU builds of torch don't have it.
    triton, tl = None, SimpleNamespace(constexpr=int, tensor=object)

__all__ = ["INSTALLED", "kernel", "tl"]

INSTALLED = triton is not None

Variant = tuple[dict[str, int], int, int]


def kernel(*variants: Variant, key: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Any]:
    """Returns a decorator that makes a Triton kernel.

    Each variant is (block sizes, warps, pipeline stages); the first call chooses the fastest, for
    each value of the arguments named in `key` and each type of the tensors that are arguments of
    their own. Triton keeps the choice beside the compiled kernels, so that later processes need not
    measure. Without variants the caller gives the block sizes.
    Arguments that belong together are a NamedTuple, whose compile-time numbers the caller wraps in
    `tl.constexpr`. A kernel's own annotations are plain names, which Triton 3.3 evaluates.
    """

    def compiled(function: Callable[..., None]) -> Any:
        """Returns the kernel; without Triton, the function itself, which is never called."""
        if triton is None:
            return function
        # Triton reads the source, so wrappers (the type checker of the tests) are removed.
        program = triton.jit(inspect.unwrap(function))
        if not variants:
            return program
        configs = [
            triton.Config(blocks, num_warps=warps, num_stages=stages)
            for blocks, warps, stages in variants
        ]
        # Early releases of Triton cannot keep a choice on disk.
        kept = "cache_results" in inspect.signature(triton.autotune).parameters
        options = {"cache_results": True} if kept else {}
        return triton.autotune(configs, key=list(key), **options)(program)

    return compiled
