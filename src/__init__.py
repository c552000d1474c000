"""Generative 3D and 4D scenes: the layers shared by both stages, and the Gaussian decoder."""

__version__ = "0.1.0"
