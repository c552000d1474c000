"""Generative 3D and 4D scenes: the layers shared by both stages, and the Gaussian decoder."""
