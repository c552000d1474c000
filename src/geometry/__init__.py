"""Cameras, rays, projection, camera trajectories and warping: pure functions of tensors."""
