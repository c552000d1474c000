"""Records of what a result was made from: digests of inputs, weights and settings."""
