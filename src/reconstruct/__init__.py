"""Clips -> Gaussians -> renders, PLY, cameras and metrics: what `sample.py` runs."""
