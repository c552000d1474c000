"""Procedural 3D and 4D scenes with exact colour, depth and cameras."""
