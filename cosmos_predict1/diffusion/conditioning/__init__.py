"""What the generator is conditioned on: the 3D cache, its warps, their latents."""
