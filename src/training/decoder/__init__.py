"""The training of the Gaussian decoder."""
