"""Stage 1, the generator: camera-controlled video diffusion, from one picture to clips."""
