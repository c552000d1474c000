"""Stage 1: the camera-controlled video generator, under its published module path."""
