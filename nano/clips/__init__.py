"""Clips that the generator makes of procedural worlds, for the decoders to learn from."""
