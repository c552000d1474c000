"""Worlds like photographs: textures everywhere, many things, strong light, far horizons."""
