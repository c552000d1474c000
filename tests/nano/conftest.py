"""Fixtures of everything that trains."""

from training_fixtures import _new_launch, loop

__all__ = ["_new_launch", "loop"]
