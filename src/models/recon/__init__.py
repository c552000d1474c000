"""The decoder network: latents and rays -> Gaussians."""
