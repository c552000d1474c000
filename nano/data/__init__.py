"""Procedural worlds and canvases as training data."""
