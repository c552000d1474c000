"""What scripts/render.py runs: a camera path, and the videos of a scene along it."""
