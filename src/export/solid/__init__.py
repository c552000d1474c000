"""Scenes of few opaque Gaussians, for viewers that blend into 8-bit pictures."""
