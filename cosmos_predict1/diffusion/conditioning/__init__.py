"""The conditions of the generator: the 3D cache, its warps, their latents."""
