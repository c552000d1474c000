"""The renderer of the procedural worlds: rays, surfaces, materials, light."""
