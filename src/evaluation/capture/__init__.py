"""Scenes of one picture, measured at the other cameras of a real capture."""
