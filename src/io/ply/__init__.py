"""Reader and writer of Gaussians as PLY files."""
