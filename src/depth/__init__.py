"""Depth, mask and intrinsics from an image or a video."""
