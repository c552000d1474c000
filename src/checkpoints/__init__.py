"""Weights on disk: where a part's files lie, and how they are opened without running them."""

from .places import (
    AVERAGE,
    DIFFUSERS,
    NANO_ASSETS,
    PLACES,
    TOKENIZER,
    Place,
    file_sets,
    find_checkpoint,
    find_named,
    layout,
    search_checkpoint,
    search_named,
)

__all__ = [
    "AVERAGE",
    "DIFFUSERS",
    "NANO_ASSETS",
    "PLACES",
    "TOKENIZER",
    "Place",
    "file_sets",
    "find_checkpoint",
    "find_named",
    "layout",
    "search_checkpoint",
    "search_named",
]
