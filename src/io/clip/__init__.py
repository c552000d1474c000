"""The clip contract on disk: pictures, latents, cameras and depth of one generated video."""
